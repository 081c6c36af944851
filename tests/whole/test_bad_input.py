# SPDX-License-Identifier: Apache-2.0
"""Wrong files, names and surroundings: one clear message, exit code 2 (or as said)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.core.run import run

from .command import FARM, Farm

ORIGIN = Path(__file__).parents[2] / "assemblies" / "origin.yml"


def _assembly(farm: Farm, text: str, name: str = "mine.yml") -> str:
    (farm.folder / name).write_text(text)
    return name


def test_unknown_keys_are_all_told_with_their_place_and_the_nearest(farm: Farm) -> None:
    name = _assembly(
        farm,
        "kernel:\n  imag: farm/debian\nservices:\n  - name: hello\n    image: farm/hello\n"
        "    comand: [a]\n",
    )
    said = farm("build", "--board", "rpi4", name)
    assert said.code == 2
    assert "mine.yml:2:3: kernel.imag" in said.err and "did you mean image?" in said.err
    assert "mine.yml:6:5: services[0].comand" in said.err and "did you mean command?" in said.err
    assert "Traceback" not in said.err


def test_a_file_that_is_not_yaml(farm: Farm) -> None:
    said = farm("build", "--board", "rpi4", _assembly(farm, "kernel: [\nx: }\n"))
    assert said.code == 2
    assert "mine.yml:2:" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "--board", "rpi9", "origin"], "unknown board 'rpi9'"),
        (["build", "--board", "rpi4", "nothing.yml"], "nothing.yml: no such assembly"),
        (["boot", "--board", "rpi-arm64", "origin"], "'rpi-arm64' is a family"),
        (["flash", "--board", "rpi4", "origin", "--bench", "no.yml"], "no.yml"),
        (["schema", "nonsense"], "nonsense"),
        (["card", "inspect", "nothing.img", "--board", "rpi4"], "nothing.img"),
    ],
)
def test_names_of_things_that_are_not_there(farm: Farm, words: list[str], told: str) -> None:
    said = farm(*words)
    assert said.code == 2, said.err
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.network
def test_a_component_that_does_not_exist(farm: Farm) -> None:
    text = ORIGIN.read_text().replace("farm/sshd", "farm/sshx")
    said = farm("build", "--board", "rpi4", _assembly(farm, text))
    assert said.code == 2
    assert "sshx" in said.err and "sshd" in said.err


def test_a_mirror_that_cannot_be_reached(farm: Farm, tmp_path: Path) -> None:
    said = farm(
        *("build", "--board", "rpi4", "origin", "--mirror", "http://127.0.0.1:9/debian"),
        env={"FARM_CACHE": str(tmp_path)},
    )
    assert said.code == 1
    assert "http://127.0.0.1:9/debian" in said.err
    assert "→" in said.err and "Traceback" not in said.err
    assert not (farm.folder / "out" / "mine-rpi4.img").exists()


def test_a_bench_that_is_not_up(farm: Farm) -> None:
    said = farm("bench", "status")
    assert said.code == 3
    assert "farm bench up" in said.err


@pytest.mark.root
@pytest.mark.network
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/usr/sbin/ser2net", ["bench", "up"]),
        ("/usr/sbin/sshd", ["bench", "up"]),
        ("/usr/bin/fdtput", ["boot", "--board", "rpi4", "origin"]),
    ],
)
def test_a_missing_program_is_named_with_the_command_that_installs_it(
    farm: Farm, program: str, words: list[str]
) -> None:
    """The program is hidden in a mount namespace of its own."""
    hidden = run(
        [
            *("unshare", "--mount", "sh", "-c"),
            'mount --bind /dev/null "$1" && shift && exec "$@"',
            *("sh", program, FARM, *words),
        ],
        cwd=farm.folder,
        env=farm.environment(),
        check=False,
    )
    said = hidden.stderr.decode()
    assert hidden.returncode == 2, said
    assert f"{Path(program).name}: not installed" in said
    assert "sudo apt-get install" in said


@pytest.mark.root
@pytest.mark.network
def test_a_full_disk_leaves_the_former_image(farm: Farm, image: Callable[[str], Path]) -> None:
    whole = image("qemu-arm64")
    disk = farm.folder / "disk"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk])
    try:
        said = farm("build", "--board", "qemu-arm64", "origin", "--out", disk)
        assert said.code == 1
        assert "No space left" in said.err
        assert list(disk.iterdir()) == []
    finally:
        run(["umount", disk])
        shutil.rmtree(disk)
    assert whole.exists()
