# SPDX-License-Identifier: Apache-2.0
"""One client of the agent: what it asked comes in, what it is told goes out in bounded order."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

import anyio
import anyio.abc

from farm.bench.protocol import GREETING, LineSplitter, Message, encode

# A watcher that lets this much wait is too slow to be a watcher.
WATCHER_LIMIT_BYTES = 4 << 20
# A client that lets this much wait does not read at all.
_CLIENT_LIMIT_BYTES = 8 << 20
_SEND_S = 30.0


class ClientChannel:
    """Lines to and from one client; nothing that is said to it ever makes the agent wait."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque([GREETING.encode() + b"\n"])
        self._changed = anyio.Event()
        self._changed.set()
        self._ending = False
        self.waiting_bytes = 0

    def say(self, message: Message) -> None:
        """Queue a message for the client; a client that does not read is hung up on."""
        if self._ending:
            return
        line = encode(message)
        self._waiting.append(line)
        self.waiting_bytes += len(line)
        if self.waiting_bytes > _CLIENT_LIMIT_BYTES:
            self._waiting.clear()
            self._ending = True
        self._changed.set()

    def end(self) -> None:
        """Hang up once what waits has been said."""
        self._ending = True
        self._changed.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """What the client says, until it hangs up.

        Raises:
            ProtocolError: a line has no end.
        """
        splitter = LineSplitter()
        try:
            async for data in self._stream:
                for line in splitter.feed(data):
                    yield line
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def send_loop(self, ended: anyio.Event) -> None:
        """Say what is queued, until the end; sets `ended` then."""
        try:
            while await self._send_waiting() and not self._ending:
                await self._changed.wait()
                self._changed = anyio.Event()
        finally:
            ended.set()
        await self._stream.aclose()

    async def _send_waiting(self) -> bool:
        while self._waiting:
            line = self._waiting.popleft()
            self.waiting_bytes = max(0, self.waiting_bytes - len(line))
            with anyio.move_on_after(_SEND_S) as limit:
                try:
                    await self._stream.send(line)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return False
            if limit.cancelled_caught:
                return False
        return True
