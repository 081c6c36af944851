# SPDX-License-Identifier: Apache-2.0
"""The wheel, installed outside the checkout, does what the checkout does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.core.run import run

from .command import PATIENCE_S, Farm

pytestmark = [
    pytest.mark.boot,
    pytest.mark.network,
    pytest.mark.long,
    pytest.mark.xdist_group("whole-wheel"),
]


@pytest.fixture(scope="module")
def installed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Farm]:
    """farm from its wheel, in an environment of its own, beside a project made by it."""
    checkout = Path(__file__).parents[2]
    folder = tmp_path_factory.mktemp("wheel")
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=checkout,
        timeout_s=PATIENCE_S,
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "env"
    run([sys.executable, "-m", "venv", environment], timeout_s=PATIENCE_S)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    lock = checkout / "requirements.lock"
    run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock], timeout_s=PATIENCE_S)
    run([*pip, "--no-deps", wheel], timeout_s=PATIENCE_S)
    command = Farm(folder, folder / "state", environment / "bin" / "farm")
    made = command("init", "mine")
    assert made.code == 0, made.err
    project = replace(command, folder=folder / "mine")
    yield project
    project("bench", "down")
    assert not project.processes()


def test_a_new_project_from_nothing_to_a_verdict(installed: Farm) -> None:
    up = installed("bench", "up")
    assert up.code == 0, up.err
    flashed = installed("flash", "--board", "rpi4", "assemblies/my.yml", "--json")
    assert flashed.code == 0, flashed.out + flashed.err
    assert flashed.json["verdict"]["outcome"] == "pass"
    builtin = installed("boot", "--board", "qemu-arm64", "assemblies/origin.yml")
    assert builtin.code == 0, builtin.out + builtin.err
    inspected = installed("card", "inspect", "out/my-rpi4.img", "--board", "rpi4")
    assert inspected.code == 0, inspected.out
    suite = run(
        [
            *(installed.program.with_name("python"), "-m", "pytest", "-q", "hil"),
            *("--farm-board", "rpi4"),
        ],
        cwd=installed.folder,
        env=installed.environment(),
        timeout_s=PATIENCE_S,
        check=False,
    )
    assert suite.returncode == 0, suite.stdout.decode()
    down = installed("bench", "down")
    assert down.code == 0, down.err
