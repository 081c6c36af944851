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
from farm.build.record import BuildRecord
from farm.core.errors import UserError
from farm.runs.expect import expectation_for
from farm.smoke.verdict import Expectation, Limits
from farm.spec.bench import DirectNetwork, ForwardedNetwork, Target
from farm.spec.board import Board
from farm.spec.project import Project


@dataclass(frozen=True)
class Lease:
    """A target that is ours.

    Args:
        target: the target.
        board: its board's definition.
        settings: its part of the bench's file.
    """

    target: LeasedTarget
    board: Board
    settings: Target

    @property
    def missing(self) -> tuple[str, ...]:
        """What the board has and this target lacks."""
        return self.settings.missing

    def expectation(self, record: BuildRecord | None, limits: Limits | None) -> Expectation:
        """Return what a boot of an image must show on this target; see `expectation_for`.

        Raises:
            UserError: the bench's file has no way to a port that has to be asked.
        """
        expected = expectation_for(record, self.board, missing=self.missing, limits=limits)
        check_ports(self.target.name, self.settings, expected)
        return expected


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
        yield Lease(ours, board, found)


def check_ports(name: str, target: Target, expectation: Expectation) -> None:
    """Check, before anything is flashed, that every port can be asked on a target.

    Args:
        name: the target's.
        target: its part of the bench's file.
        expectation: what a boot there must show.

    Raises:
        UserError: there is no way to one of the ports.
    """
    if "network" in expectation.missing:
        return
    lost = expectation.ports
    match target.network:
        case ForwardedNetwork(ports=forwarded):
            lost = tuple(one for one in lost if one[1] not in forwarded)
            hint = "add them to the target's `ports:` in the bench's file, then `farm bench up`"
        case DirectNetwork(address=None):
            hint = "give the board's address: `network: {driver: direct, address: …}`"
        case DirectNetwork():
            return
        case None:
            hint = "give the target a `network:` in the bench's file, or `missing: [network]`"
    if lost:
        listed = ", ".join(f"{port} ({service})" for service, port in lost)
        raise UserError(
            f"{name}: there is no way to ports that the image serves: {listed}", hint=hint
        )
