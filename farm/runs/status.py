# SPDX-License-Identifier: Apache-2.0
"""`farm bench status`: what every target is doing, for a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from farm.bench.client import TargetStatus, open_bench
from farm.bench.running import running_bench
from farm.spec.project import Project

_HEAD = ("target", "board", "power", "console", "held by", "since", "for", "queue")


async def status_of(given: Path | None) -> tuple[TargetStatus, ...]:
    """Ask a bench for the state of its targets.

    Raises:
        UserError: the bench's file has problems.
        BenchError: the bench is not up, or cannot be reached.
    """
    running = running_bench(Project.find(), given)
    async with open_bench(running.bench, state=running.folder) as client:
        return await client.status()


def to_text(rows: Sequence[TargetStatus]) -> str:
    """The states as a table."""
    table = [_HEAD, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def _cells(row: TargetStatus) -> tuple[str, ...]:
    state = row.state
    if state is None:
        return (row.name, row.board, "?", row.trouble, "-", "-", "-", "-")
    lease = state.lease
    return (
        row.name,
        row.board,
        state.power or "?",
        state.console,
        lease.owner if lease else "-",
        f"{time.time() - lease.since:.0f} s" if lease else "-",
        lease.reason if lease else "-",
        ", ".join(state.queue) or "-",
    )
