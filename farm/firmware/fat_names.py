# SPDX-License-Identifier: Apache-2.0
"""Names in a FAT directory: the 8.3 name, and VFAT's long name in entries before it.

Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (long directory entries), and
the Linux kernel's Documentation/filesystems/vfat.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Container

ENTRY = 32
LONG_NAME = 0x0F
"""The attribute byte that marks an entry of a long name."""
MAX_NAME = 255
_LAST = 0x40
_UNITS = 13
_PLACES = ((1, 5), (14, 6), (28, 2))
_SHORT_OTHERS = "$%'-_@~`!(){}^#&"
_FORBIDDEN = frozenset('"*/:<>?\\|')


def checksum(short: bytes) -> int:
    """Return the sum that ties a long name's entries to the 11 bytes of the 8.3 name."""
    total = 0
    for byte in short:
        total = ((total >> 1) | ((total & 1) << 7)) + byte & 0xFF
    return total


def short_text(short: bytes, flags: int = 0) -> str:
    """Return the 8.3 name as text; `flags` is the byte in which Windows NT notes lower case."""
    raw = b"\xe5" + short[1:] if short[:1] == b"\x05" else short
    stem, suffix = (part.decode("cp437").rstrip(" ") for part in (raw[:8], raw[8:11]))
    stem = stem.lower() if flags & 0x08 else stem
    suffix = suffix.lower() if flags & 0x10 else suffix
    return f"{stem}.{suffix}" if suffix else stem


class LongName:
    """Gathers a long name from the entries that stand before its 8.3 entry."""

    def __init__(self) -> None:
        self._units: dict[int, bytes] = {}
        self._next = 0
        self._sum = -1

    def add(self, entry: bytes) -> None:
        """Take one entry; one that does not continue the name drops what there was."""
        order = entry[0] & 0x3F
        if entry[0] & _LAST and 1 <= order <= 20:
            self._units = {}
            self._sum = entry[13]
        elif order == 0 or order != self._next or entry[13] != self._sum:
            self._units, self._next, self._sum = {}, 0, -1
            return
        self._units[order] = b"".join(entry[at : at + 2 * count] for at, count in _PLACES)
        self._next = order - 1

    def take(self, short: bytes) -> str | None:
        """Return the name if it is whole and belongs to `short`, and begin anew."""
        units, whole = self._units, self._next == 0
        belongs = self._sum == checksum(short)
        self._units, self._next, self._sum = {}, 0, -1
        if not units or not whole or not belongs:
            return None
        text = b"".join(units[order] for order in sorted(units)).decode("utf-16-le", "replace")
        return text.split("\0", 1)[0] or None


def is_allowed(name: str) -> bool:
    """Whether a FAT directory can have this long name."""
    return (
        0 < len(name) <= MAX_NAME
        and name not in (".", "..")
        and not name.endswith((" ", "."))
        and not any(c in _FORBIDDEN or ord(c) < 0x20 for c in name)
    )


def make_short(name: str, taken: Container[bytes]) -> bytes:
    """Return the 11 bytes of an 8.3 name for `name` that is not among `taken`.

    Raises:
        ValueError: a million names of the folder have the same beginning.
    """
    stem, _, suffix = name.rpartition(".") if "." in name.lstrip(".") else (name, "", "")
    plain = _squeeze(stem, 8), _squeeze(suffix, 3)
    exact = _pack(*plain)
    if short_text(exact).upper() == name.upper() and exact not in taken:
        return exact
    for number in range(1, 1_000_000):
        tail = f"~{number}"
        candidate = _pack(plain[0][: 8 - len(tail)] + tail, plain[1])
        if candidate not in taken:
            return candidate
    raise ValueError(f"{name}: no short name is left")


def long_entries(name: str, short: bytes) -> bytes:
    """Return the entries that stand before `short`'s; none where the 8.3 name says it all."""
    if short_text(short) == name:
        return b""
    units = name.encode("utf-16-le")
    if len(units) % (2 * _UNITS):
        units += b"\0\0"
        units += b"\xff" * (-len(units) % (2 * _UNITS))
    total, number = checksum(short), len(units) // (2 * _UNITS)
    entries = bytearray()
    for order in range(number, 0, -1):
        part = units[(order - 1) * 2 * _UNITS : order * 2 * _UNITS]
        first = order | (_LAST if order == number else 0)
        entries += struct.pack(
            "<B10sBBB12sH4s", first, part[:10], LONG_NAME, 0, total, part[10:22], 0, part[22:]
        )
    return bytes(entries)


def _squeeze(text: str, limit: int) -> str:
    kept = "".join(
        c if (c.isascii() and c.isalnum()) or c in _SHORT_OTHERS else "" if c in " ." else "_"
        for c in text.upper()
    )
    return kept[:limit]


def _pack(stem: str, suffix: str) -> bytes:
    return (stem or "_").encode("ascii").ljust(8) + suffix.encode("ascii").ljust(3)
