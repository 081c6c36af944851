# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on a bench: busy targets, cut cables, wrong keys, killed programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from farm.bench.process_table import own_processes
from farm.core.run import run
from tests.relay import relay

from .command import PATIENCE_S, Farm, ended

pytestmark = [
    pytest.mark.boot,
    pytest.mark.network,
    pytest.mark.xdist_group("whole-faults"),
]
TARGET = "qemu-arm64-1"
Images = Callable[[str], Path]
Until = Callable[[Callable[[], bool], str], None]


@pytest.fixture
def flash(image: Images) -> list[str | Path]:
    return ["flash", "--board", "qemu-arm64", image("qemu-arm64")]


def _powered(bench: Farm) -> bool:
    return bench.status(TARGET)["state"]["power"] == "on"


def _is_free(bench: Farm) -> bool:
    return bench.status(TARGET)["state"]["lease"] is None


def test_two_flashes_of_one_target(bench: Farm, flash: list[str | Path], until: Until) -> None:
    first = bench.start(*flash)
    until(lambda: not _is_free(bench), "the first flash's lease")
    second = bench(*flash)
    assert second.code == 3, second.err
    assert TARGET in second.err
    assert f"(pid {first.pid})" in second.err, "who holds it"
    assert "flash origin-qemu-arm64.img" in second.err, "what for"
    assert re.search(r"since|\d+ s", second.err), "since when"
    assert ended(first).code == 0
    assert _is_free(bench)


def test_waiting_in_the_queue(bench: Farm, flash: list[str | Path], until: Until) -> None:
    first = bench.start(*flash)
    until(lambda: not _is_free(bench), "the first flash's lease")
    second = bench(*flash, "--wait", str(PATIENCE_S))
    assert second.code == 0, second.err
    assert "place 1 in the queue" in second.err
    assert ended(first).code == 0


@pytest.mark.parametrize("moment", ["flash", "boot"])
def test_ctrl_c_leaves_nothing_behind(
    bench: Farm, flash: list[str | Path], until: Until, moment: str, tmp_path: Path
) -> None:
    before = set(bench.processes())
    process = bench.start(*flash)
    if moment == "flash":
        until(lambda: not _is_free(bench), "the lease")
    else:
        until(lambda: _powered(bench), "the power is on")
    process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 130, said.err
    assert "Traceback" not in said.err
    assert _is_free(bench)
    until(lambda: bench.status(TARGET)["state"]["power"] == "off", "the power is off")
    until(lambda: set(bench.processes()) == before, "no process more than before")
    assert not list((bench.state / "runs").glob(".unfinished*"))
    assert bench(*flash).code == 0


def test_a_killed_orchestrator(bench: Farm, flash: list[str | Path], until: Until) -> None:
    """Its lease ends by itself, and the next run finds the bench and uses it."""
    process = bench.start(*flash)
    until(lambda: _powered(bench), "the power is on")
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    until(lambda: _is_free(bench), "the lease ends by itself")
    said = bench(*flash)
    assert said.code == 0, said.out + said.err


def test_a_cut_connection(bench: Farm, flash: list[str | Path], image: Images) -> None:
    """The card does not boot and says why; the next flash says so too, and repairs it."""
    file, port = _copy(bench, "cut")
    _spoil(bench)
    with relay(port, after=1_000_000, how="reset") as cut:
        _edit(file, port=cut.port)
        said = bench(*flash, "--bench", file)
    assert said.code == 3, said.out + said.err
    assert "unfinished" in said.out + said.err
    card = next(bench.state.glob("bench/whole/**/qemu-arm64-1*.img"))
    assert card.read_bytes()[510:512] != b"\x55\xaa"
    again = bench(*flash)
    assert again.code == 0, again.out + again.err
    assert "cut short" in again.err


def test_a_host_that_refuses_the_key(bench: Farm, flash: list[str | Path], tmp_path: Path) -> None:
    file, _ = _copy(bench, "refused")
    key = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    _edit(file, identity=str(key))
    said = bench(*flash, "--bench", file)
    assert said.code == 3
    assert "key" in said.err and "lab" in said.err and "→" in said.err
    assert "Traceback" not in said.err


def test_a_host_with_another_key(bench: Farm, flash: list[str | Path], tmp_path: Path) -> None:
    file, port = _copy(bench, "changed")
    key = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    kind, public, *_ = key.with_suffix(".pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {kind} {public}\n")
    _edit(file, known_hosts=str(known))
    said = bench(*flash, "--bench", file)
    assert said.code == 3
    assert "host key" in said.err and str(known) in said.err
    assert "Traceback" not in said.err


def test_a_qemu_that_dies_at_its_start(bench: Farm, image: Images) -> None:
    boards = bench.folder / "boards"
    boards.mkdir()
    builtin = Path(__file__).parents[2] / "boards" / "qemu-arm64.yml"
    text = builtin.read_text() + "  args: [-device, no-such-device]\n"
    (boards / "qemu-arm64.yml").write_text(text)
    try:
        said = bench("boot", "--board", "qemu-arm64", image("qemu-arm64"))
    finally:
        shutil.rmtree(boards)
    assert said.code == 3, said.out + said.err
    assert "no-such-device" in said.out + said.err
    assert "INFRASTRUCTURE" in said.out.upper()


def test_a_killed_agent_is_found_and_cleaned(bench: Farm, flash: list[str | Path]) -> None:
    agents = [line for line in bench.processes() if "farm.bench.agent" in line]
    assert agents
    for process in own_processes():
        if str(bench.state) in " ".join(process.argv) and "farm.bench.agent" in process.argv:
            os.kill(process.pid, signal.SIGKILL)
    broken = bench(*flash)
    assert broken.code == 3
    assert "farm bench up" in broken.err
    up = bench("bench", "up")
    assert up.code == 0, up.err
    assert bench(*flash).code == 0


@pytest.fixture(autouse=True)
def _bench_is_up(bench: Farm) -> Iterator[None]:
    yield
    assert bench("bench", "up").code == 0


def _copy(bench: Farm, name: str) -> tuple[Path, int]:
    """A copy of the bench's file as it runs, to be spoiled; and its host's port."""
    file = bench.folder / f"{name}.yml"
    (running,) = bench.state.glob("bench/whole/*/bench.yml")
    shutil.copy(running, file)
    port = YAML(typ="safe").load(file)["hosts"]["lab"]["port"]
    return file, port


def _edit(file: Path, **changes: str | int) -> None:
    yaml = YAML(typ="safe")
    data = yaml.load(file)
    host = data["hosts"]["lab"]
    if "port" in changes:
        # The relay has the host's key under its own port.
        known = Path(host["known_hosts"])
        line = known.read_text().replace(f"]:{host['port']} ", f"]:{changes['port']} ")
        mine = file.with_suffix(".known_hosts")
        mine.write_text(line)
        host["known_hosts"] = str(mine)
    host.update(changes)
    with file.open("w") as out:
        yaml.dump(data, out)


def _spoil(bench: Farm) -> None:
    """Make the card differ from every image, so that there is much to write."""
    card = next(bench.state.glob("bench/whole/**/qemu-arm64-1*.img"))
    with card.open("r+b") as file:
        file.truncate(0)
        file.truncate(512 << 20)
