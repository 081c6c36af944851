# SPDX-License-Identifier: Apache-2.0
"""A card's bytes, read within bounds: a card is hostile until it has been read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.core.errors import CheckError, UserError


class CardError(CheckError):
    """What is on the card cannot be what it claims to be.

    The message says what and where on the card, not which file of this machine the card is:
    a virtual firmware prints it on the board's console.
    """


@dataclass(frozen=True)
class Card:
    """An open card, or an image of one.

    Args:
        fd: an open descriptor; `open_card` closes it.
        size_bytes: how many bytes the card has.
    """

    fd: int
    size_bytes: int

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return `size` bytes from `offset`.

        Args:
            what: what is read, for the message.

        Raises:
            CardError: they lie beyond the card's end, or cannot be read.
        """
        if offset < 0 or size < 0 or offset + size > self.size_bytes:
            raise CardError(
                f"{what}: bytes {offset} to {offset + size} lie beyond the card's end "
                f"at {self.size_bytes}"
            )
        parts = []
        try:
            while size:
                data = os.pread(self.fd, size, offset)
                if not data:
                    raise CardError(f"{what}: the card ends early, at byte {offset}")
                parts.append(data)
                offset += len(data)
                size -= len(data)
        except OSError as error:
            raise CardError(f"{what}: cannot be read: {error.strerror}") from error
        return b"".join(parts)


@contextlib.contextmanager
def open_card(path: Path) -> Iterator[Card]:
    """Open a card (a block device) or an image of one (a file), for reading only.

    Raises:
        UserError: there is no such file, it may not be read, or it is something else.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise UserError(f"{path}: neither a file nor a block device")
        yield Card(fd, os.lseek(fd, 0, os.SEEK_END))
    finally:
        os.close(fd)


def printable(text: str, limit: int = 400) -> str:
    """Return text of a card as it may go to a terminal: no control bytes, not endless."""
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return safe if len(text) <= limit else f"{safe[:limit]}..."
