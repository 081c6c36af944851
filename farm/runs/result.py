# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.build.record import BuildRecord
from farm.core.errors import ExitCode
from farm.core.run import paste
from farm.flash.client import FlashReport
from farm.smoke.verdict import Verdict

FORMAT = 1


@dataclass(frozen=True)
class Timing:
    """How long a part of a run took, in seconds of wall time."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Run:
    """What was run.

    Args:
        image: the image of a card.
        record: of its build, where there is one.
        board: the board's name.
        target: the target's.
        command: repeats the run.
        timings: of the run's parts.
        flashed: None where nothing was flashed.
    """

    image: Path
    record: BuildRecord | None
    board: str
    target: str
    command: Sequence[str]
    timings: Sequence[Timing] = ()
    flashed: FlashReport | None = None


@dataclass(frozen=True)
class RunResult:
    """One run, ended.

    Args:
        id: unique on this machine; begins with the time.
        folder: where its files are.
        image: path of the image that was booted.
        digest: the image's, as in its build record; None for an image without one.
        assembly: name of the assembly; None for an image that farm did not make.
        board: the board's name.
        target: the target's, or "virtual" for a throw-away one.
        started: ISO 8601, UTC.
        command: repeats the run.
        verdict: what came out.
        timings: of the run's parts.
        flashed: None where nothing was flashed.
    """

    id: str
    folder: Path
    image: str
    digest: str | None
    assembly: str | None
    board: str
    target: str
    started: str
    command: tuple[str, ...]
    verdict: Verdict
    timings: tuple[Timing, ...] = ()
    flashed: FlashReport | None = None

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with."""
        return self.verdict.exit_code

    def to_json(self) -> dict[str, Any]:
        """The run as `verdict.json` has it (format 1, `docs/verdicts.md`)."""
        flashed = self.flashed
        return {
            "format": FORMAT,
            "id": self.id,
            "started": self.started,
            "image": self.image,
            "digest": self.digest,
            "assembly": self.assembly,
            "board": self.board,
            "target": self.target,
            "command": paste(self.command),
            "timings": {one.name: round(one.seconds, 3) for one in self.timings},
            "flash": None if flashed is None else dataclasses.asdict(flashed),
            "verdict": self.verdict.to_json(),
        }
