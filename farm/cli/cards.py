# SPDX-License-Identifier: Apache-2.0
"""`farm card`: what is on a card's image, and what firmware would do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli.errors import guarded
from farm.cli.options import BoardName, Json

card = typer.Typer(no_args_is_help=True, help="Look into card images.")


@card.command()
@guarded
def inspect(
    image: Annotated[Path, typer.Argument(help="Any card image, also one farm did not make.")],
    board: BoardName,
    json: Json = False,
) -> None:
    """Say what a board's firmware would do with an image; exit 1 if it would not boot."""
    from farm.core.errors import ExitCode
    from farm.firmware.inspect import inspect as inspect_card
    from farm.spec.project import Project

    report = inspect_card(image, Project.find().one_board(board))
    if json:
        print(report.to_json(), end="")
    else:
        print(report.to_text())
    raise typer.Exit(ExitCode.OK if report.boot.boots else ExitCode.FAILED)
