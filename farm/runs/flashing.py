# SPDX-License-Identifier: Apache-2.0
"""A flash as it is ordered: a target of the bench is leased, the run is made, the lease ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from farm.build.record import BuildRecord
from farm.core.errors import UserError
from farm.core.progress import Reporter
from farm.flash.blocks import image_blocks
from farm.runs.leasing import leased
from farm.runs.result import RunResult
from farm.runs.target import run_on_target
from farm.smoke.verdict import Limits
from farm.spec.board import Board
from farm.spec.project import Project


@dataclass(frozen=True)
class FlashOrder:
    """What to flash, and where.

    Args:
        image: of a card.
        record: of its build, where there is one.
        board: the kind of board.
        target: a target's name; None for any free one of that kind.
        bench: the bench's file; None for the project's.
        wait_s: seconds to queue for a busy target.
        limits: of the boot's parts; None for the usual ones.
        results: folder for the results; None for the usual place.
        command: repeats the run.
    """

    image: Path
    record: BuildRecord | None
    board: str
    target: str | None
    bench: Path | None
    wait_s: float
    limits: Limits | None
    results: Path | None
    command: tuple[str, ...]


async def flash_on_bench(order: FlashOrder, reporter: Reporter) -> RunResult:
    """Lease a target, flash, boot, judge.

    Raises:
        UserError: there is no such board or target, or the image is not for that board.
        BenchError: the bench cannot be reached, or no target is free.
    """
    project = Project.find()
    board = _board(project, order)
    blocks = await anyio.to_thread.run_sync(image_blocks, order.image)
    async with leased(
        project,
        board,
        target=order.target,
        bench_file=order.bench,
        reason=f"flash {order.image.name}",
        wait_s=order.wait_s,
        queued=lambda place: reporter.note(f"{board.name}: waiting, place {place} in the queue"),
    ) as lease:
        return await run_on_target(
            lease.target,
            order.image,
            blocks,
            lease.expectation(order.record, order.limits),
            record=order.record,
            command=order.command,
            reporter=reporter,
            results=order.results,
        )


def _board(project: Project, order: FlashOrder) -> Board:
    board = project.one_board(order.board)
    record = order.record
    if record is not None and board.name not in record.boards:
        raise UserError(
            f"{order.image}: was built for {', '.join(record.boards)}, not for {board.name}",
            hint=f"farm build --board {board.name} makes one that is",
        )
    return board
