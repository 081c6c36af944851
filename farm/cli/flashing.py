# SPDX-License-Identifier: Apache-2.0
"""`farm flash` and `farm boot`: an image on a board, to its verdict."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.building import build_image
from farm.cli.options import (
    BenchFile,
    BoardName,
    Json,
    Limit,
    Mirror,
    Out,
    Suite,
    Update,
    get_limits,
    get_reporter,
    print_json,
)

if TYPE_CHECKING:
    from farm.build import BuildRecord
    from farm.core.progress import Reporter
    from farm.runs.result import RunResult

What = Annotated[
    Path, typer.Argument(help="An assembly (built first), or a card image.", show_default=False)
]
Results = Annotated[Path | None, typer.Option("--results", help="Folder for the run's results.")]


def flash(
    what: What,
    board: BoardName,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="This target; else any free one.")
    ] = None,
    bench: BenchFile = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to queue for a busy target.")
    ] = 0,
    limit: Limit = None,
    out: Out = Path("out"),
    results: Results = None,
    mirror: Mirror = None,
    suite: Suite = None,
    update: Update = False,
    json: Json = False,
) -> None:
    """Put an image on a board of the bench, boot it, and say whether it passed."""
    from functools import partial

    import anyio

    from farm.runs.flashing import FlashOrder, flash_on_bench

    reporter = get_reporter()
    image = _image(what, board, out, mirror, suite, update, reporter)
    order = FlashOrder(
        image=image.path,
        record=image.record,
        board=board,
        target=target,
        bench=bench,
        wait_s=wait,
        limits=get_limits(limit),
        results=results,
        command=("farm", *sys.argv[1:]),
    )
    _end(anyio.run(partial(flash_on_bench, order, reporter)), json)


def boot(
    what: What,
    board: BoardName,
    limit: Limit = None,
    out: Out = Path("out"),
    results: Results = None,
    mirror: Mirror = None,
    suite: Suite = None,
    update: Update = False,
    json: Json = False,
) -> None:
    """Boot an image as the card of a throw-away virtual board: no bench, lease or SSH."""
    from functools import partial

    import anyio

    from farm.runs.expect import expectation_for
    from farm.runs.throwaway import run_throwaway
    from farm.spec.project import Project

    reporter = get_reporter()
    found = Project.find().one_board(board)
    image = _image(what, board, out, mirror, suite, update, reporter)
    missing = found.stand_in.missing if found.stand_in else ()
    result = anyio.run(
        partial(
            run_throwaway,
            image.path,
            found,
            expectation_for(image.record, found, missing=missing, limits=get_limits(limit)),
            record=image.record,
            command=("farm", *sys.argv[1:]),
            reporter=reporter,
            results=results,
        )
    )
    _end(result, json)


@dataclass(frozen=True)
class _Image:
    path: Path
    record: BuildRecord | None


def _image(
    what: Path,
    board: str,
    out: Path,
    mirror: str | None,
    suite: str | None,
    update: bool,
    reporter: Reporter,
) -> _Image:
    """The image that was named, with its record where it has one; or the assembly's, built."""
    from farm.runs.given import given_record

    if what.suffix in (".yml", ".yaml") or not what.is_file():
        built = build_image(what, board, out, mirror, suite, update, reporter)
        return _Image(built.image, built.record)
    return _Image(what, given_record(what))


def _end(result: RunResult, json: bool) -> None:
    from farm.runs.words import describe

    if json:
        print_json(result.to_json())
    else:
        print(describe(result))
    raise typer.Exit(result.exit_code)
