# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from farm.core.progress import Reporter
    from farm.debian import ArchiveSettings
    from farm.smoke.verdict import Limits


def _boards(incomplete: str) -> list[str]:
    """The boards that a shell may complete to."""
    from farm.spec.project import Project

    return [name for name in Project.find().boards() if name.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
BoardName = Annotated[
    str,
    typer.Option(
        "--board",
        "-b",
        help="Kind of board, as in boards/NAME.yml.",
        autocompletion=_boards,
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for images.")]
Mirror = Annotated[
    str | None, typer.Option("--mirror", help="Debian mirror; else what apt uses here.")
]
Suite = Annotated[
    str | None, typer.Option("--suite", help="Debian suite; components may name their own.")
]
Update = Annotated[
    bool, typer.Option("--update", help="Fetch Debian's package indexes anew first.")
]
BenchFile = Annotated[
    Path | None, typer.Option("--bench", help="bench.yml; else the project's, else a virtual one.")
]
Limit = Annotated[
    float | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="SECONDS",
        help="How long one step of the boot may take; else 90 s and what the board needs.",
        show_default=False,
    ),
]


def get_limits(step_s: float | None) -> Limits | None:
    """The usual limits with another one for a step; None where none was given."""
    from farm.smoke.verdict import Limits

    return Limits(step_s=step_s) if step_s else None


def archive_settings(mirror: str | None, suite: str | None, update: bool) -> ArchiveSettings:
    """The Debian archive that the options, or else the environment, name."""
    from dataclasses import replace

    from farm.debian import ArchiveSettings

    settings = replace(ArchiveSettings.from_environment(), update=update)
    if mirror:
        settings = replace(settings, mirror=mirror)
    return replace(settings, suite=suite) if suite else settings


def get_reporter() -> Reporter:
    """Bars where standard error is a terminal, plain lines where it is a log."""
    if sys.stderr.isatty():
        from farm.cli.progress import TerminalReporter

        return TerminalReporter()
    from farm.core.progress import LineReporter

    return LineReporter()


def print_json(value: object) -> None:
    """Print a value that JSON knows, for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
