# SPDX-License-Identifier: Apache-2.0
"""Images whose one component misbehaves, and real boots of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest

from farm.build import Built, build
from farm.core.progress import SilentReporter
from farm.debian import ArchiveSettings
from farm.oci.store import Store
from farm.runs.expect import expectation_for
from farm.runs.result import RunResult
from farm.runs.throwaway import run_throwaway
from farm.smoke.verdict import Limits
from farm.spec.board import Board
from farm.spec.project import Project

# A shell that may do everything, also to the system that it runs on.
COMPONENT = """\
format: 1
name: culprit
summary: Does what a test wants
debian:
  packages: [busybox-static]
  files: [/usr/bin/busybox]
files:
  - path: /usr/bin/sh
    symlink: busybox
config:
  net: host
  pid: host
  capabilities: [all]
  maskedPaths: []
  readonlyPaths: []
  binds: ["/dev:/dev"]
  command: [/usr/bin/sh, -c, "true"]
"""
# As above, and it says that it serves a port.
DEAF = COMPONENT.replace("name: culprit", "name: deaf") + "ports: [81]\n"
STEP = '  - {{name: {name}, image: farm/{image}, command: [/usr/bin/sh, -c, "{script}"]}}\n'
QUICK = Limits(firmware_s=30, kernel_s=60, step_s=20, settle_s=5, port_s=8)

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Lab:
    """A project with a component that misbehaves."""

    project: Project
    folder: Path

    def assembly(self, *, onboot: str = "", services: str = "") -> Path:
        """An assembly with scripts as an onboot step and as a service, each where given."""
        text = "kernel: {image: farm/debian}\ninit: [farm/init]\n"
        for key, script in (("onboot", onboot), ("services", services)):
            if script:
                text += f"{key}:\n" + STEP.format(name="culprit", image="culprit", script=script)
        return self.write(text)

    def write(self, text: str) -> Path:
        """An assembly of one's own."""
        path = self.folder / "assembly.yml"
        path.write_text(text)
        return path

    def build(self, assembly: Path, board: str) -> Built:
        """Its image."""
        return build(
            self.project,
            assembly,
            board,
            out=self.folder / "out",
            store=Store(),
            settings=ArchiveSettings.from_environment(),
            reporter=SilentReporter(),
        )

    def boot(
        self,
        assembly: Path,
        board: str = "qemu-arm64",
        *,
        limits: Limits = QUICK,
        change: Change | None = None,
        missing: tuple[str, ...] | None = None,
    ) -> RunResult:
        """Build, change the image where asked, and boot it."""
        run = partial(self.run, assembly, board, limits=limits, change=change, missing=missing)
        return anyio.run(run)

    async def run(
        self,
        assembly: Path,
        board: str,
        *,
        limits: Limits,
        change: Change | None = None,
        missing: tuple[str, ...] | None = None,
    ) -> RunResult:
        built = self.build(assembly, board)
        if change is not None:
            change(built.image)
        definition = self.project.board(board)
        assert isinstance(definition, Board) and definition.stand_in is not None
        lacks = definition.stand_in.missing if missing is None else missing
        return await run_throwaway(
            built.image,
            definition,
            expectation_for(built.record, definition, missing=lacks, limits=limits),
            record=built.record,
            command=("farm", "boot"),
            reporter=SilentReporter(),
            results=self.folder / "runs",
        )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    for name, text in (("culprit", COMPONENT), ("deaf", DEAF)):
        folder = tmp_path / "components" / name
        folder.mkdir(parents=True)
        (folder / "component.yml").write_text(text)
    with contextlib.chdir(tmp_path):
        yield Lab(Project.find(tmp_path), tmp_path)
