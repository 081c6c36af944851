# SPDX-License-Identifier: Apache-2.0
"""`farm power`: a target's supply by hand, under a lease for as long as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from farm.bench.client import open_bench
from farm.bench.running import running_bench
from farm.runs.leasing import owner
from farm.spec.project import Project

Switch = Literal["on", "off", "cycle"]


async def switch_power(target: str, switch: Switch, bench: Path | None) -> str:
    """Switch a target on, off, or off and on; return the state that its supply then says.

    A board that is switched on has its card: it is given it first.

    Raises:
        UserError: there is no such target.
        BusyError: somebody else has it.
        BenchError: the bench is not up, or something cannot be switched.
    """
    running = running_bench(Project.find(), bench)
    async with (
        open_bench(running.bench, state=running.folder) as client,
        client.lease(board=None, target=target, owner=owner(), reason=f"power {switch}") as leased,
    ):
        if switch != "on":
            await leased.power.off()
        if switch != "off" and await leased.power.state() != "on":
            await leased.storage.to_board()
            await leased.power.on()
        return await leased.power.state()
