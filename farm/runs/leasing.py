# SPDX-License-Identifier: Apache-2.0
"""A target of the bench, leased for as long as a block lasts."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from farm.bench.client import LeasedTarget, open_bench
from farm.bench.running import running_bench
from farm.spec.bench import Target
from farm.spec.board import Board
from farm.spec.project import Project


@dataclass(frozen=True)
class Lease:
    """A target that is ours.

    Args:
        target: the target.
        board: its board's definition.
        missing: what the board has and this target lacks.
    """

    target: LeasedTarget
    board: Board
    missing: tuple[str, ...]


def owner() -> str:
    """Who holds a lease, for others to read: user, machine, process."""
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"


@contextlib.asynccontextmanager
async def leased(
    project: Project,
    board: Board,
    *,
    target: str | None,
    bench_file: Path | None,
    reason: str,
    wait_s: float = 0.0,
    queued: Callable[[int], None] = lambda place: None,
) -> AsyncIterator[Lease]:
    """Lease a target of the bench.

    Args:
        project: where the bench's file is looked for.
        board: the kind of board.
        target: its name; None for any free one.
        bench_file: the bench's file; None for the project's.
        reason: what for, for others to read.
        wait_s: how long to queue for a busy target, in seconds.
        queued: told our place in the queue, 1 is next.

    Raises:
        UserError: there is no such board or target.
        BenchError: the bench is not reached, or no target is free.
    """
    running = running_bench(project, bench_file)
    async with (
        open_bench(running.bench, state=running.folder) as client,
        client.lease(
            board=board.name,
            target=target,
            owner=owner(),
            reason=reason,
            wait_s=wait_s,
            queued=queued,
        ) as ours,
    ):
        found = running.bench.targets[ours.name]
        assert isinstance(found, Target), "a running bench has drivers for every target"
        yield Lease(ours, board, found.missing)
