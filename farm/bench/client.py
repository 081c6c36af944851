# SPDX-License-Identifier: Apache-2.0
"""What a run does with a bench: look at it, watch a console, lease a target and use it.

Everything goes through SSH to the bench hosts and, there, their agents. A client keeps no state:
it may be killed at any time, and its leases end by themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread

from farm.bench.agent_link import AgentLink
from farm.bench.claim import BenchHost, Claim, first_turn
from farm.bench.drivers import Console, Network, Power, Storage
from farm.bench.errors import BusyError
from farm.bench.host_drivers import (
    AgentConsole,
    DirectNetwork,
    ForwardedNetwork,
    Forwards,
    HttpPower,
    MuxStorage,
)
from farm.bench.protocol import HEARTBEAT_S, TargetState
from farm.core.errors import BenchError, FarmError, UserError
from farm.core.ssh import SshConnection
from farm.spec import bench as spec
from farm.spec.bench import Bench, LoopbackHost, SshHost, Target
from farm.spec.load import load

_GIVE_BACK_S = 5.0


@dataclass(frozen=True)
class TargetStatus:
    """One target, for `farm bench status`.

    Args:
        name, board, host: as in the bench's file.
        state: what its agent knows; None where the host cannot be asked.
        trouble: why it cannot, "" else.
    """

    name: str
    board: str
    host: str
    state: TargetState | None
    trouble: str


@dataclass
class LeasedTarget:
    """A target that is ours, until the `async with` block ends or `lost` is set.

    Args:
        name, board_name: as in the bench's file.
        connection: the SSH connection to its bench host.
        power, storage, console, network: its drivers; no network is None.
        lost: set when the lease ended by itself; every driver raises LeaseLostError then.
    """

    name: str
    board_name: str
    connection: SshConnection
    power: Power
    storage: Storage
    console: Console
    network: Network | None
    lost: anyio.Event
    _link: AgentLink

    async def note(self) -> Any:  # noqa: ANN401 (any JSON)
        """Return what was noted for this target last; None where nothing was."""
        return (await self._link.ask("note", {"target": self.name}))["note"]

    async def set_note(self, note: Any) -> None:  # noqa: ANN401
        """Note something for this target: any JSON of at most 16 KiB; None forgets it.

        The agent keeps it across runs and restarts.
        """
        await self._link.ask("set-note", {"target": self.name, "note": note})


class BenchClient:
    """A bench whose hosts are reached by SSH; made by `open_bench`."""

    def __init__(self, bench: Bench, tasks: anyio.abc.TaskGroup) -> None:
        self._bench = bench
        self._targets: dict[str, Target] = {
            name: target for name, target in bench.targets.items() if isinstance(target, Target)
        }
        self._hosts = {
            name: BenchHost(bench.name, name, host, tasks)
            for name, host in bench.hosts.items()
            if isinstance(host, SshHost)
        }

    async def status(self) -> tuple[TargetStatus, ...]:
        """Return what the agents know of all targets; a host that is silent is no error."""
        told: dict[str, TargetState] = {}
        trouble: dict[str, str] = {}

        async def ask(name: str, host: BenchHost) -> None:
            try:
                async with host.link() as link:
                    answer = await link.ask("status")
                    for message in answer["targets"]:
                        state = TargetState.from_message(message)
                        told[state.name] = state
            except FarmError as error:
                trouble[name] = str(error)

        async with anyio.create_task_group() as tasks:
            for name, host in self._hosts.items():
                tasks.start_soon(ask, name, host)
        return tuple(
            TargetStatus(
                name,
                target.board,
                target.host,
                told.get(name),
                trouble.get(target.host, "" if name in told else "its agent does not know it"),
            )
            for name, target in self._targets.items()
        )

    @contextlib.asynccontextmanager
    async def watch_console(self, target: str) -> AsyncIterator[Console]:
        """A target's console, without a lease: what is written to it is refused.

        Raises:
            UserError: there is no such target.
            BenchError: the host or its agent cannot be reached.
        """
        (name,) = self._candidates(None, target)
        host = self._hosts[self._targets[name].host]
        console = AgentConsole(f"{host.name}: {name}", name)
        async with host.link(heard=console.take, lost=console.fail) as link:
            await console.open(link)
            yield console

    @contextlib.asynccontextmanager
    async def lease(
        self,
        *,
        board: str | None,
        target: str | None,
        owner: str,
        reason: str,
        wait_s: float = 0,
        queued: Callable[[int], None] = lambda place: None,
    ) -> AsyncIterator[LeasedTarget]:
        """A target of our own, for the time of the block.

        Args:
            board: any free target of that board; or
            target: this one.
            owner, reason: told to whoever finds it taken.
            wait_s: seconds to wait in the queue for it.
            queued: told our place in the queue, 1 is next, whenever it changes.

        Raises:
            UserError: there is no such board or target on the bench.
            BusyError: somebody else has it: whom, since when, what for.
            BenchError: the host or its agent cannot be reached.
        """
        names = self._candidates(board, target)
        async with contextlib.AsyncExitStack() as stack:
            claim = await self._claim(names, owner, reason, wait_s, queued, stack)
            leased = await self._equip(claim, stack)
            yield leased

    def _candidates(self, board: str | None, target: str | None) -> tuple[str, ...]:
        if target is not None:
            if target not in self._targets:
                known = ", ".join(self._targets) or "none"
                raise UserError(
                    f"bench {self._bench.name}: there is no target {target!r}",
                    hint=f"its targets: {known}",
                )
            if board is not None and self._targets[target].board != board:
                raise UserError(
                    f"bench {self._bench.name}: target {target} is a "
                    f"{self._targets[target].board}, not a {board}"
                )
            return (target,)
        names = tuple(n for n, found in self._targets.items() if found.board == board)
        if not names:
            known = ", ".join(sorted({found.board for found in self._targets.values()}))
            raise UserError(
                f"bench {self._bench.name}: has no target of board {board!r}",
                hint=f"its boards: {known or 'none'}",
            )
        return names

    async def _claim(
        self,
        names: Sequence[str],
        owner: str,
        reason: str,
        wait_s: float,
        queued: Callable[[int], None],
        stack: contextlib.AsyncExitStack,
    ) -> Claim:
        by_host: dict[str, list[str]] = {}
        for name in names:
            by_host.setdefault(self._targets[name].host, []).append(name)
        claims = [
            Claim(self._hosts[host], tuple(wanted), owner, reason, queued)
            for host, wanted in by_host.items()
        ]
        busy: BusyError | None = None
        unreachable: BenchError | None = None
        for claim in claims:
            try:
                if await claim.try_now(stack):
                    return claim
                busy = busy or claim.busy
            except BenchError as error:
                # Another host may have one that is free.
                unreachable = unreachable or error
        if busy is None:
            assert unreachable is not None
            raise unreachable
        if wait_s > 0 and (got := await first_turn(claims, wait_s)) is not None:
            return got
        raise busy

    async def _equip(self, claim: Claim, stack: contextlib.AsyncExitStack) -> LeasedTarget:
        name = claim.got
        assert name is not None and claim.link is not None
        target = self._targets[name]
        what = f"{claim.host.name}: {name}"
        connection = claim.host.connection
        forwards = Forwards(connection)
        stack.push_async_callback(_shielded, forwards.close)
        console = claim.console_of(name, what)
        await console.open(claim.link)
        power = HttpPower(
            what,
            target.power,
            forwards,
            before_on=console.ready,
            check=claim.check,
            secret=claim.secret,
        )
        stack.push_async_callback(_shielded, power.close)
        stack.push_async_callback(_shielded, claim.give_back)
        return LeasedTarget(
            name=name,
            board_name=target.board,
            connection=connection,
            power=power,
            storage=MuxStorage(
                what, target.storage, connection, check=claim.check, secret=claim.secret
            ),
            console=console,
            network=_network(what, target, forwards),
            lost=claim.lost,
            _link=claim.link,
        )

    async def close(self) -> None:
        """End all connections."""
        for host in self._hosts.values():
            await anyio.to_thread.run_sync(host.connection.close)


@contextlib.asynccontextmanager
async def open_bench(bench: Bench, *, state: Path) -> AsyncIterator[BenchClient]:
    """A bench to be used for the time of the block; nothing is connected before it is needed.

    Args:
        bench: the bench; where it has virtual hosts, what `bench up` wrote is used instead.
        state: the bench's folder, as `farm.bench.up.bench_folder` says.

    Raises:
        BenchError: it has virtual hosts and is not up.
    """
    if any(isinstance(host, LoopbackHost) for host in bench.hosts.values()):
        file = state / "bench.yml"
        if not file.exists():
            raise BenchError(f"bench {bench.name} is not up", hint="farm bench up")
        bench = load(file, Bench)
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        client = BenchClient(bench, tasks)
        try:
            yield client
        except Exception as error:
            # Raised past the task group, which would wrap it in an ExceptionGroup.
            failure = error
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await client.close()
    if failure is not None:
        raise failure


def _network(what: str, target: Target, forwards: Forwards) -> Network | None:
    match target.network:
        case spec.ForwardedNetwork():
            return ForwardedNetwork(what, target.network, forwards)
        case spec.DirectNetwork():
            return DirectNetwork(what, target.network, forwards)
        case _:
            return None


async def _shielded(close: Callable[[], Any]) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(_GIVE_BACK_S + HEARTBEAT_S):
        await close()
