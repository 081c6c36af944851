# SPDX-License-Identifier: Apache-2.0
"""A console's bytes as lines that are safe to match, print and put into a page."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE_BYTES = 4096
"""A longer line is cut into several: a console can be hostile, or at another speed."""

_BREAK = re.compile(rb"[\r\n]+")
_ESCAPE = re.compile(
    "\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    "|[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC: strings
    r"|[ -/]*[0-~]"  # the rest
    ")"
)
# Control characters that are ordinary on a console: bell, backspace, tab, escape.
_ORDINARY = frozenset("\a\b\t\n\r\x1b")
_UNDECODABLE = re.compile("[\x00-\x1f\x7f-\x9f\udc80-\udcff]")


@dataclass(frozen=True)
class Line:
    """One line of a console.

    Args:
        number: counted from 1.
        text: without control characters and escape sequences.
        clock_s: when its end was read, on the target's clock.
        wall: the same, in seconds since 1970.
    """

    number: int
    text: str
    clock_s: float
    wall: float


def strip_escapes(text: str) -> str:
    """Return `text` without a terminal's escape sequences (ECMA-48)."""
    return _ESCAPE.sub("", text)


def harmless(text: str) -> str:
    """Return `text` so that neither a terminal nor a reader is misled by it.

    Escape sequences are left out; what has no picture of its own, such as control characters
    and those that turn the direction of writing, is written as `\\xNN` or `\\uNNNN`.
    """
    text = strip_escapes(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else _spell(ord(c)) for c in text)


class LineReader:
    """Cuts bytes into lines, and counts those that no console writes."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self.undecodable_bytes = 0
        self._rest = b""
        self._count = 0
        self._at = (0.0, 0.0)

    def feed(self, data: bytes, clock_s: float, wall: float) -> list[Line]:
        """Take bytes; return the lines that they end. Empty lines are left out."""
        self.bytes_read += len(data)
        self._at = (clock_s, wall)
        *whole, self._rest = _BREAK.split(self._rest + data)
        while len(self._rest) >= MAX_LINE_BYTES:
            whole.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        return [self._line(part) for raw in whole if raw for part in _cut(raw)]

    def rest(self) -> str:
        """The line that has no end yet, such as a prompt."""
        return harmless(_decode(self._rest))

    def _line(self, raw: bytes) -> Line:
        text = _decode(raw)
        self.undecodable_bytes += sum(
            len(found.encode("utf-8", "surrogateescape"))
            for found in _UNDECODABLE.findall(text)
            if found not in _ORDINARY
        )
        self._count += 1
        return Line(self._count, harmless(text), *self._at)


def _cut(raw: bytes) -> list[bytes]:
    return [raw[at : at + MAX_LINE_BYTES] for at in range(0, len(raw), MAX_LINE_BYTES)]


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _spell(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
