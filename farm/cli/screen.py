# SPDX-License-Identifier: Apache-2.0
"""What of a console's bytes may reach a person's terminal.

A board is hostile until proven otherwise, and a terminal obeys: it changes its title, fills the
clipboard or types answers. So text, the ordinary control characters and the sequences that move
the cursor, colour and erase pass; every other sequence is left out. The log has all of it.

Source: ECMA-48 (control sequences), xterm's ctlseqs (what terminals make of them).
"""

from __future__ import annotations

import codecs
import re

_MAX_SEQUENCE = 64
_MAX_STRING = 65536

# Cursor, erase, insert, scroll, colour, modes, and "where is the cursor?", which line editors ask.
_CSI = re.compile(rb"\x1b\[[?]?[0-9;:]{0,40}[@A-HJKLMPSTX`adefhlmnrsu]")
_CSI_ANY = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
# Save and restore the cursor, index, next line, reverse index, keypad modes.
_SIMPLE = re.compile(rb"\x1b[78DEM=>]")
_SIMPLE_ANY = re.compile(rb"\x1b[ -/]*[0-OQ-WYZ\\`-~]")
_STRING = re.compile(rb"\x1b[\]PX^_].*?(?:\x07|\x1b\\)", re.DOTALL)
_STRING_BEGIN = re.compile(rb"\x1b[\]PX^_]")
# Everything else that is no text: other C0 controls, DEL and C1 controls.
_UNWANTED = re.compile("[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\x80-\x9f]")


class Screen:
    """Filters a console's bytes; sequences may come in pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return those that may be shown now."""
        data = self._rest + data
        self._rest = b""
        shown = bytearray()
        at = 0
        while True:
            escape = data.find(b"\x1b", at)
            if escape < 0:
                shown += self._text(data[at:], final=False)
                return bytes(shown)
            shown += self._text(data[at:escape], final=True)
            end = _sequence_end(data, escape)
            if end is None:
                self._rest = data[escape:]
                return bytes(shown)
            sequence = data[escape:end]
            if _CSI.fullmatch(sequence) or _SIMPLE.fullmatch(sequence):
                shown += sequence
            at = end

    def _text(self, data: bytes, *, final: bool) -> bytes:
        # Decoded first: what is left out between two bytes must not join them to a character.
        text = self._decoder.decode(data, final)
        return _UNWANTED.sub("", text).encode()


def _sequence_end(data: bytes, begin: int) -> int | None:
    """Where the sequence that begins there ends; None where more bytes are needed."""
    for pattern in (_CSI_ANY, _STRING, _SIMPLE_ANY):
        if found := pattern.match(data, begin):
            return found.end()
    left = len(data) - begin
    limit = _MAX_STRING if _STRING_BEGIN.match(data, begin) else _MAX_SEQUENCE
    # One that never ends is not waited for: the escape is dropped, what follows is text.
    return begin + 1 if left >= limit or not _may_grow(data[begin:]) else None


def _may_grow(data: bytes) -> bool:
    """Whether more bytes could make it a sequence."""
    return (
        len(data) == 1
        or _STRING_BEGIN.match(data) is not None
        or re.fullmatch(rb"\x1b\[[0-?]*[ -/]*|\x1b[ -/]+", data) is not None
    )
