# SPDX-License-Identifier: Apache-2.0
"""A board whose console a test writes, behind the ordinary drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel

from farm.bench.drivers import ConsoleChunk
from farm.core.errors import BenchError
from farm.runs.boot import Drivers
from tests.smoke.scripted import Scripted


class FakeBoard:
    """Plays a `Scripted` console once it is powered; time passes only by ticks.

    Args:
        script: says what the board says, to a `Scripted` whose lines it hears.
        then: what goes wrong after the script: an error that the console raises, or None.
    """

    def __init__(
        self, script: Callable[[Scripted], object], then: BenchError | None = None
    ) -> None:
        self.script = script
        self.then = then
        self.powered = anyio.Event()
        self.is_on = False
        self.switched: list[str] = []
        self.state_text: str | None = None
        self.typed: list[bytes] = []
        self.clock_s = 100.0
        self.ports: dict[int, int] = {}
        self.lost = anyio.Event()
        self.left = b"left over from before\r\n"

    @property
    def drivers(self) -> Drivers:
        """The board, for a run."""
        return Drivers("fake-1", self, self, self, self.lost)

    async def on(self) -> None:
        """Power on."""
        self.switched.append("on")
        self.is_on = True
        self.powered.set()

    async def off(self) -> None:
        """Power off."""
        self.switched.append("off")
        self.is_on = False

    async def state(self) -> str:
        """Power state."""
        return self.state_text or ("on" if self.is_on else "off")

    async def endpoint(self, port: int) -> tuple[str, int]:
        """The way to a port."""
        if port not in self.ports:
            raise BenchError(f"port {port} is not forwarded")
        return "127.0.0.1", self.ports[port]

    async def write(self, data: bytes) -> None:
        """What is typed."""
        self.typed.append(data)

    def chunks(self) -> AsyncIterator[ConsoleChunk]:
        """What the console says."""
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[ConsoleChunk]:
        yield self._chunk(self.left)
        while not self.powered.is_set():
            yield self._chunk(b"")
            await anyio.lowlevel.checkpoint()
        for chunk in self._recorded():
            yield chunk
            await anyio.lowlevel.checkpoint()
        if self.then is not None:
            raise self.then
        while True:
            self.clock_s += 0.5
            yield self._chunk(b"")
            # Real time has to pass as well: sockets are asked meanwhile.
            await anyio.sleep(0.01)

    def _recorded(self) -> list[ConsoleChunk]:
        recorder = _Recorder(self)
        self.script(recorder)
        return recorder.chunks

    def _chunk(self, data: bytes) -> ConsoleChunk:
        return ConsoleChunk(data, self.clock_s, 1_700_000_000 + self.clock_s)


class _Recorder(Scripted):
    def __init__(self, board: FakeBoard) -> None:
        super().__init__()
        self.chunks: list[ConsoleChunk] = []
        self._board = board

    def raw(self, data: bytes) -> Scripted:
        self._board.clock_s += 0.01
        self.clock_s = self._board.clock_s
        self.chunks.append(self._board._chunk(data))
        return self

    def wait(self, seconds: float) -> Scripted:
        for _ in range(int(seconds / 0.5)):
            self._board.clock_s += 0.5
            self.chunks.append(self._board._chunk(b""))
        return self
