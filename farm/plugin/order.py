# SPDX-License-Identifier: Apache-2.0
"""What the plugin's options ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.build.record import BuildRecord
from farm.core.progress import Reporter
from farm.runs.given import given_record
from farm.smoke.verdict import Limits
from farm.spec.board import Board
from farm.spec.project import Project


@dataclass(frozen=True)
class Order:
    """A board to boot, and with what.

    Args:
        project: where files are looked for.
        board: the board's name.
        assembly: to be built, where `image` is None.
        image: of a card.
        bench: the bench's file; None for the project's.
        target: its name; None for any free one.
        throwaway: whether a virtual board of its own is booted, without a bench.
        identity: private key for SSH to the board; None for the user's own.
        results: folder for the run's folder; None for the usual place.
        limits: of the boot's parts; None for the usual ones.
        command: repeats the session.
    """

    project: Project
    board: Board
    assembly: Path
    image: Path | None
    bench: Path | None
    target: str | None
    throwaway: bool
    identity: Path | None
    results: Path | None
    limits: Limits | None
    command: tuple[str, ...]

    def get_image(self, reporter: Reporter) -> tuple[Path, BuildRecord | None]:
        """The image and its record; built where no image was given."""
        if self.image is not None:
            return self.image, given_record(self.image)
        from farm.build import build
        from farm.debian import ArchiveSettings
        from farm.oci.store import Store

        built = build(
            self.project,
            self.project.assembly_file(self.assembly),
            self.board.name,
            out=Path("out"),
            store=Store(),
            settings=ArchiveSettings.from_environment(),
            reporter=reporter,
        )
        return built.image, built.record


def order_from(config: pytest.Config) -> Order:
    """Read the options.

    Raises:
        UserError: they name what does not exist.
    """
    project = Project.find()
    board = project.one_board(str(config.getoption("--farm-board")))
    image = _path(config, "--farm-image")
    return Order(
        project=project,
        board=board,
        assembly=Path(config.getoption("--farm-assembly")),
        image=image,
        bench=_path(config, "--farm-bench"),
        target=config.getoption("--farm-target"),
        throwaway=bool(config.getoption("--farm-no-bench")),
        identity=_path(config, "--farm-identity"),
        results=_path(config, "--farm-results"),
        limits=Limits(step_s=limit) if (limit := config.getoption("--farm-limit")) else None,
        command=("pytest", *(str(arg) for arg in config.invocation_params.args)),
    )


def _path(config: pytest.Config, option: str) -> Path | None:
    given = config.getoption(option)
    return Path(given).expanduser() if given else None
