# SPDX-License-Identifier: Apache-2.0
"""From the reference assembly to a verdict, on every board, by the commands of the README."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.core.files import sha256_file
from farm.core.run import run

from .command import Farm

pytestmark = [
    pytest.mark.boot,
    pytest.mark.network,
    pytest.mark.xdist_group("whole-way"),
]
Images = Callable[[str], Path]


@pytest.mark.parametrize("board", ["rpi4", "rpi3", "qemu-arm64"])
def test_the_reference_assembly_passes(bench: Farm, image: Images, board: str) -> None:
    said = bench("flash", "--board", board, image(board), "--json")
    assert said.code == 0, said.out + said.err
    assert said.json["verdict"]["outcome"] == "pass"
    assert said.json["target"] == f"{board}-1"
    skipped = [one["need"] for one in said.json["verdict"]["skipped"]]
    assert bool(skipped) == (board == "rpi4"), "only rpi4's stand-in lacks a network"

    latest = bench.state / "runs" / "LATEST"
    verdict = json.loads((latest / "verdict.json").read_text())
    assert verdict["digest"] == json.loads(Path(f"{image(board)}.json").read_text())["digest"]
    assert b"farm/1 " in (latest / "console.log").read_bytes()
    suite = ET.parse(latest / "junit.xml").getroot()
    assert suite.get("failures") == "0" and suite.get("errors") == "0"
    page = (latest / "report.html").read_text()
    assert "<svg" in page and "farm flash --board" in page
    assert bench.status(f"{board}-1")["state"]["power"] == "off"


def test_a_second_flash_of_the_same_image_writes_nothing(bench: Farm, image: Images) -> None:
    flash = ["flash", "--board", "qemu-arm64", image("qemu-arm64"), "--json"]
    bench(*flash)
    said = bench(*flash)
    assert said.code == 0, said.err
    assert said.json["flash"]["written_blocks"] == 0
    assert said.json["flash"]["sent_bytes"] < 100_000


@pytest.mark.parametrize("board", ["rpi3", "rpi4"])
def test_one_image_boots_a_family(bench: Farm, image: Images, board: str) -> None:
    card = image("rpi-arm64")
    before = sha256_file(card)
    said = bench("boot", "--board", board, card, "--json")
    assert said.code == 0, said.out + said.err
    assert said.json["verdict"]["outcome"] == "pass"
    assert sha256_file(card) == before


def test_inspect_says_what_the_firmware_would_do(farm: Farm, image: Images) -> None:
    said = farm("card", "inspect", image("rpi4"), "--board", "rpi4", "--json")
    assert said.code == 0
    assert said.json["boot"]["kernel"] == "/kernel8.img"
    other = farm("card", "inspect", image("rpi4"), "--board", "rpi3")
    assert other.code == 1
    assert "bootcode.bin" in other.out


def test_the_network_is_real_from_outside(bench: Farm, tmp_path: Path) -> None:
    """On a board with a network, hello is fetched and a shell logged into from the host."""
    key = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    origin = (Path(__file__).parents[2] / "assemblies" / "origin.yml").read_text()
    own = origin.replace("~/.ssh/id_ed25519.pub", f"{key}.pub")
    assert own != origin
    (bench.folder / "own.yml").write_text(own)
    suite = bench.folder / "hil"
    suite.mkdir(exist_ok=True)
    (suite / "test_own.py").write_text(
        "from urllib.request import urlopen\n"
        "def test_hello(board):\n"
        "    address, port = board.endpoint(80)\n"
        "    with urlopen(f'http://{address}:{port}/', timeout=60) as page:\n"
        "        assert b'qemu-arm64' in page.read()\n"
        "def test_shell(shell):\n"
        "    assert shell.run('echo $((6 * 7))').stdout.strip() == '42'\n"
    )
    done = run(
        [
            *(sys.executable, "-m", "pytest", "-q", suite, "-p", "no:cacheprovider"),
            *("--farm-board", "qemu-arm64", "--farm-assembly", "own.yml"),
            *("--farm-identity", key),
        ],
        cwd=bench.folder,
        env=bench.environment(),
        check=False,
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    assert "2 passed" in said
