# SPDX-License-Identifier: Apache-2.0
"""A project folder, a bench that is up, and images of it, made once for a file of tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .command import PATIENCE_S, Farm

BENCH = """\
format: 1
name: whole
hosts:
  lab: {kind: loopback}
targets:
  rpi4-1: {board: rpi4, host: lab, virtual: true}
  rpi3-1: {board: rpi3, host: lab, virtual: true}
  qemu-arm64-1: {board: qemu-arm64, host: lab, virtual: true}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """farm in a project with a bench.yml; nothing of it runs afterwards."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "bench.yml").write_text(BENCH)
    command = Farm(folder, tmp_path_factory.mktemp("state"))
    yield command
    left = command.processes()
    assert not left, f"left running: {left}"


@pytest.fixture(scope="module")
def bench(farm: Farm) -> Iterator[Farm]:
    """The same, with the bench up."""
    up = farm("bench", "up")
    assert up.code == 0, up.err
    yield farm
    down = farm("bench", "down")
    assert down.code == 0, down.err


@pytest.fixture(scope="module")
def image(farm: Farm) -> Callable[[str], Path]:
    """The reference assembly's image for a board, built where it is not there yet."""

    def build(board: str) -> Path:
        path = farm.folder / "out" / f"origin-{board}.img"
        if not path.exists():
            done = farm("build", "--board", board, "assemblies/origin.yml")
            assert done.code == 0, done.err
        return path

    return build


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], str], None]:
    """Wait for something that another process does; there is no event to wait for."""

    def wait(true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end, f"never came: {what}"
            time.sleep(0.1)

    return wait
