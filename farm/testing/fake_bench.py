# SPDX-License-Identifier: Apache-2.0
"""A bench and its boards in memory, for tests of what uses them: no host, no SSH, no QEMU.

They keep the promises that `farm.bench.drivers` makes, by the same contract tests as the real
ones: a card is at one place, power is refused while the host has it, a lease is one's own.

    bench = FakeBench({"rpi4-1": FakeBoard("rpi4", tmp_path / "card.img", says=b"hello\\r\\n")})
    async with bench.lease(board="rpi4", target=None, owner="me", reason="a test") as target:
        await target.storage.to_board()
        await target.power.on()
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from farm.bench.agent_link import lease_lost
from farm.bench.drivers import ConsoleChunk
from farm.bench.errors import BusyError, RefusedError
from farm.bench.leases import Lease, LeaseTable, Ticket
from farm.bench.stream import ConsoleStream
from farm.core.errors import BenchError, UserError


class FakeBoard:
    """A board that says something when it is switched on, and answers what is typed.

    Args:
        board: its kind's name.
        card: a file that is its card; made where absent. The board has it at first.
        says: what its console says at power-on.
        answer: what it says to typed bytes; by default the same bytes.
        ports: TCP port of the board → where a test serves it on this machine's loopback.
        clock: the board's own clock, in seconds.
    """

    def __init__(
        self,
        board: str,
        card: Path,
        *,
        says: bytes = b"",
        answer: Callable[[bytes], bytes] = lambda typed: typed,
        ports: Mapping[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = board
        self.says = says
        self.note: Any = None
        self._host_path = card
        self._board_path = card.with_name(f".{card.name}.inside")
        self._answer = answer
        self._ports = dict(ports or {})
        self._clock = clock
        self._streams: weakref.WeakSet[ConsoleStream] = weakref.WeakSet()
        self._is_on = False
        self._fault: str | None = None
        if card.exists():
            card.rename(self._board_path)
        self._board_path.touch()

    @property
    def card(self) -> Path:
        """The card's file, wherever it is now."""
        return self._host_path if self._host_path.exists() else self._board_path

    def say(self, data: bytes) -> None:
        """Let the console say something now."""
        for stream in self._streams:
            stream.feed(self._chunk(data))

    def fail(self, why: str) -> None:
        """Let the board fail, as a QEMU does that dies."""
        self._fault = why
        for stream in self._streams:
            stream.fail(BenchError(f"{self.board}: power: fault: {why}"))

    async def on(self) -> None:
        """Switch on.

        Raises:
            RefusedError: the host has the card.
        """
        if self._host_path.exists():
            raise RefusedError(f"{self.board}: not switched on: the bench host has its card")
        if not self._is_on:
            self._is_on = True
            self.say(self.says)

    async def off(self) -> None:
        """Switch off."""
        self._is_on = False
        self._fault = None

    async def state(self) -> str:
        """Return "on", "off", or "fault: …"."""
        if self._fault is not None:
            return f"fault: {self._fault}"
        return "on" if self._is_on else "off"

    async def to_host(self) -> str:
        """Give the card to the host and return its path.

        Raises:
            RefusedError: the board is on.
        """
        await self._move(self._board_path, self._host_path)
        return str(self._host_path)

    async def to_board(self) -> None:
        """Give the card to the board; errors as `to_host`."""
        await self._move(self._host_path, self._board_path)

    def chunks(self) -> AsyncIterator[ConsoleChunk]:
        """What the console says from this call on, with ticks of the board's clock."""
        stream = ConsoleStream(self.board, lambda: self._chunk(b""))
        self._streams.add(stream)
        return stream

    async def write(self, data: bytes) -> None:
        """Type `data`; lost where the board is off."""
        if self._is_on:
            self.say(self._answer(data))

    async def endpoint(self, port: int) -> tuple[str, int]:
        """Return where the board's `port` is served.

        Raises:
            UserError: nobody serves it.
        """
        if port not in self._ports:
            raise UserError(f"{self.board}: port {port} is not forwarded")
        return "127.0.0.1", self._ports[port]

    def _chunk(self, data: bytes) -> ConsoleChunk:
        return ConsoleChunk(data, self._clock(), time.time())

    async def _move(self, source: Path, place: Path) -> None:
        if self._is_on:
            raise RefusedError(f"{self.board}: the card is not switched while the board is on")
        if source.exists():
            source.rename(place)


@dataclass
class FakeTarget:
    """A leased fake board, with the fields of a `LeasedTarget`, but for its SSH connection."""

    name: str
    board_name: str
    board: FakeBoard
    lost: anyio.Event = field(default_factory=anyio.Event)
    _error: BenchError | None = None

    @property
    def power(self) -> FakeBoard:
        """Its power; raises LeaseLostError once the lease is lost, as all drivers do."""
        return self._held()

    @property
    def storage(self) -> FakeBoard:
        """Its card."""
        return self._held()

    @property
    def console(self) -> FakeBoard:
        """Its console."""
        return self._held()

    @property
    def network(self) -> FakeBoard:
        """Its network."""
        return self._held()

    async def note(self) -> Any:  # noqa: ANN401 (any JSON)
        """What was noted last; None where nothing was."""
        return self.board.note

    async def set_note(self, note: Any) -> None:  # noqa: ANN401
        """Note something."""
        self._held().note = note

    def lose(self, why: str) -> None:
        """Let the lease be lost; the bench switches the board off then."""
        self.board._is_on = False
        self._error = lease_lost(self.name, why)
        self.lost.set()
        for stream in self.board._streams:
            stream.fail(self._error)

    def _held(self) -> FakeBoard:
        if self._error is not None:
            raise self._error
        return self.board


class FakeBench:
    """A bench of fake boards, by target name."""

    def __init__(self, boards: Mapping[str, FakeBoard]) -> None:
        self._boards = dict(boards)
        self._leases = LeaseTable()

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
    ) -> AsyncIterator[FakeTarget]:
        """A target of one's own; as `BenchClient.lease`, with the same errors."""
        names = self._candidates(board, target)
        holder = object()
        try:
            lease = await self._take(names, holder, owner, reason, wait_s, queued)
            found = self._boards[lease.target]
            yield FakeTarget(lease.target, found.board, found)
        finally:
            self._leases.drop(holder)

    def _candidates(self, board: str | None, target: str | None) -> tuple[str, ...]:
        names = tuple(
            name
            for name, found in self._boards.items()
            if target in (None, name) and board in (None, found.board)
        )
        if not names:
            raise UserError(f"no target {target!r} of board {board!r}")
        return names

    async def _take(
        self,
        names: tuple[str, ...],
        holder: object,
        owner: str,
        reason: str,
        wait_s: float,
        queued: Callable[[int], None],
    ) -> Lease:
        try:
            return self._leases.take(names, holder, owner, reason)
        except BusyError:
            if wait_s <= 0:
                raise
        got: list[Lease] = []
        turn = anyio.Event()

        def granted(lease: Lease) -> None:
            got.append(lease)
            turn.set()

        ticket = Ticket(names, holder, owner, reason, granted, queued)
        with anyio.move_on_after(wait_s):
            self._leases.wait(ticket)
            await turn.wait()
        self._leases.leave(ticket)
        return got[0] if got else self._leases.take(names, holder, owner, reason)
