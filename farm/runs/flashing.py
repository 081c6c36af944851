# SPDX-License-Identifier: Apache-2.0
"""A flash as it is ordered: a target of the bench is leased, the run is made, the lease ends."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from farm.bench.client import open_bench
from farm.bench.place import bench_of
from farm.build.record import BuildRecord
from farm.core.errors import UserError
from farm.core.progress import Reporter
from farm.flash.blocks import read_blocks
from farm.runs.expect import expectation_for
from farm.runs.result import RunResult
from farm.runs.target import run_on_target
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
        results: folder for the results; None for the usual place.
        command: repeats the run.
    """

    image: Path
    record: BuildRecord | None
    board: str
    target: str | None
    bench: Path | None
    wait_s: float
    results: Path | None
    command: tuple[str, ...]


def owner() -> str:
    """Who holds a lease, for others to read: user, machine, process."""
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"


async def flash_on_bench(order: FlashOrder, reporter: Reporter) -> RunResult:
    """Lease a target, flash, boot, judge.

    Raises:
        UserError: there is no such board or target, or the image is not for that board.
        BenchError: the bench cannot be reached, or no target is free.
    """
    raise NotImplementedError
