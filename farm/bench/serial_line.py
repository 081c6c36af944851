# SPDX-License-Identifier: Apache-2.0
"""A virtual board's serial plug: a pseudo terminal that stays while boards come and go."""

from __future__ import annotations

import contextlib
import os
import tty
from pathlib import Path

import anyio
import anyio.lowlevel

from farm.core.errors import BenchError

# How long a board's UART waits for somebody to take its bytes, before they fall on the floor.
_PATIENCE_S = 3.0
# A terminal's wake-up for a writer may come late: ask again, at this interval.
_ASK_AGAIN_S = 0.05


class SerialLine:
    """The board's end of a pseudo terminal pair in raw mode.

    Args:
        link: symbolic link to be made to the other end, for ser2net.

    Raises:
        BenchError: the system has no free pseudo terminal, or the link cannot be made.
    """

    def __init__(self, link: Path) -> None:
        self._link = link
        self.dropped_bytes = 0
        self._full = False
        try:
            self._board, self._plug = os.openpty()
        except OSError as error:
            raise BenchError(f"{link.name}: serial line: {error.strerror}") from error
        try:
            # The plug's end stays open here, else the board's end fails while nobody listens.
            tty.setraw(self._plug)
            os.set_blocking(self._board, False)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.ttyname(self._plug))
        except OSError as error:
            self.close()
            raise BenchError(f"{link}: serial line: {error.strerror}") from error

    def close(self) -> None:
        """Take the plug away."""
        with contextlib.suppress(OSError):
            self._link.unlink(missing_ok=True)
        for end in (self._board, self._plug):
            with contextlib.suppress(OSError):
                os.close(end)

    async def send(self, data: bytes) -> None:
        """Say `data`; waits for room for some seconds, then drops bytes, as a UART does."""
        rest = memoryview(data)
        deadline = anyio.current_time() + (0.0 if self._full else _PATIENCE_S)
        while rest:
            try:
                written = os.write(self._board, rest[:4096])
            except BlockingIOError:
                written = 0
            if written:
                rest = rest[written:]
                self._full = False
                deadline = anyio.current_time() + _PATIENCE_S
                await anyio.lowlevel.checkpoint()
            elif anyio.current_time() >= deadline:
                self._full = True
                self.dropped_bytes += len(rest)
                return
            else:
                with anyio.move_on_after(_ASK_AGAIN_S):
                    await anyio.wait_writable(self._board)

    async def receive(self) -> bytes:
        """Return what was typed at the other end, at least one byte."""
        while True:
            await anyio.wait_readable(self._board)
            with contextlib.suppress(BlockingIOError):
                return os.read(self._board, 4096)
