# SPDX-License-Identifier: Apache-2.0
"""A virtual SD mux: the card is one file, which is either at the host's place or the board's.

The move is one rename, so that the path of the side that does not have the card is absent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from farm.bench.errors import RefusedError
from farm.core.errors import BenchError


class VirtualCard:
    """A card and its two places.

    Args:
        target: whose card it is, for messages.
        host: its path while the host has it.
        board: its path while the board has it.
        size_bytes: how big it is; a card of another size is replaced by a blank one.

    Raises:
        BenchError: it cannot be made.
    """

    def __init__(self, target: str, *, host: Path, board: Path, size_bytes: int) -> None:
        self._target = target
        self.host = host
        self.board = board
        try:
            for path in (host, board):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            card = host if host.exists() else board
            if not card.exists() or card.stat().st_size != size_bytes:
                card.unlink(missing_ok=True)
                handle = os.open(card, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                os.truncate(handle, size_bytes)
                os.close(handle)
        except OSError as error:
            raise BenchError(f"{target}: card: {error}") from error

    @property
    def at_host(self) -> bool:
        """Whether the host has it."""
        return self.host.exists()

    def switch(self, to: str) -> None:
        """Move it to "host" or "board"; does nothing where it is there.

        Raises:
            RefusedError: a program on the host is still writing it.
            BenchError: it cannot be moved.
        """
        source, place = (self.board, self.host) if to == "host" else (self.host, self.board)
        if place.exists():
            return
        if to == "board" and self._in_use():
            raise RefusedError(
                f"{self._target}: a program on the host still holds the card",
                hint="wait for the flash to end",
            )
        try:
            source.rename(place)
        except OSError as error:
            raise BenchError(f"{self._target}: card to the {to}: {error}") from error

    def _in_use(self) -> bool:
        # A writer holds this lock for as long as it writes (farm.flash does).
        with contextlib.suppress(OSError), self.host.open("rb") as card:
            try:
                fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
