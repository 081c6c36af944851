# SPDX-License-Identifier: Apache-2.0
"""A console's chunks on their way from whoever reads the port to one consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

from farm.bench.drivers import ConsoleChunk
from farm.core.errors import BenchError

_TICK_S = 0.4
_LIMIT_BYTES = 16 << 20


class ConsoleStream:
    """An async iterator of chunks; what is fed while nobody iterates is kept, up to 16 MiB.

    Args:
        what: host and target, for messages.
        tick: makes the empty chunk that is given when nothing came for 0.4 s; None where
            ticks are fed like bytes.
    """

    def __init__(self, what: str, tick: Callable[[], ConsoleChunk] | None = None) -> None:
        self._what = what
        self._tick = tick
        self._chunks: deque[ConsoleChunk] = deque()
        self._bytes = 0
        self._changed = anyio.Event()
        self._error: BenchError | None = None

    def feed(self, chunk: ConsoleChunk) -> None:
        """Add a chunk; called in the event loop, never waits."""
        if self._error is not None:
            return
        if chunk.data or not self._chunks or self._chunks[-1].data:
            self._chunks.append(chunk)
            self._bytes += len(chunk.data)
        else:
            self._chunks[-1] = chunk
        if self._bytes > _LIMIT_BYTES:
            self.fail(BenchError(f"{self._what}: console: the reader fell 16 MiB behind"))
        self._changed.set()

    def fail(self, error: BenchError) -> None:
        """Let the consumer see what came so far, then `error`."""
        self._error = self._error or error
        self._changed.set()

    def __aiter__(self) -> ConsoleStream:
        return self

    async def __anext__(self) -> ConsoleChunk:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            self._changed = anyio.Event()
            if self._tick is None:
                await self._changed.wait()
                continue
            with anyio.move_on_after(_TICK_S):
                await self._changed.wait()
            if not self._chunks and self._error is None:
                return self._tick()
        chunk = self._chunks.popleft()
        self._bytes -= len(chunk.data)
        return chunk
