# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.cli.screen import Screen


@pytest.mark.parametrize(
    "kept",
    [
        b"plain text\r\n",
        "schön, 漢字\n".encode(),
        b"\x1b[1;31mred\x1b[0m",
        b"\x1b[2J\x1b[H\x1b[K\x1b[?25l",
        b"\x1b[6n",
        b"\x1b7\x1b8",
        b"tab\tbell\x07back\b",
    ],
)
def test_what_line_editors_and_colours_need_passes(kept: bytes) -> None:
    assert Screen().feed(kept) == kept


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x1b]0;new title\x07",
        b"\x1b]52;c;cm0gLXJmIC8=\x07",
        b"\x1b]8;;http://example.org\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b[21t",
        b"\x1b[c",
        b"\x1b[>c",
        b"\x1b[200~",
        b"\x1bc",
        b"\x9d52;\x07"[1:3],
        b"\xc2\x9b21t"[:2],
        b"\x00\x01\x0e\x7f",
    ],
)
def test_what_a_terminal_would_obey_is_left_out(hostile: bytes) -> None:
    shown = Screen().feed(b"a" + hostile + b"b")
    assert b"\x1b" not in shown and b"\xc2\x9b" not in shown
    assert shown.startswith(b"a") and shown.endswith(b"b")


def test_a_sequence_that_never_ends_is_not_waited_for() -> None:
    screen = Screen()
    assert screen.feed(b"\x1b[" + b"1" * 100 + b"\nnext") == b"[" + b"1" * 100 + b"\nnext"
    assert b"end" in Screen().feed(b"\x1b]" + b"x" * 70000 + b"end")


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_pieces_show_what_the_whole_shows(pieces: list[bytes]) -> None:
    whole = Screen().feed(b"".join(pieces))
    screen = Screen()
    assert b"".join(screen.feed(piece) for piece in pieces) == whole


@given(st.binary(max_size=300))
def test_only_known_sequences_come_out(data: bytes) -> None:
    shown = Screen().feed(data)
    assert not any(0x80 <= ord(character) <= 0x9F for character in shown.decode())
    for after in shown.split(b"\x1b")[1:]:
        assert after[:1] in b"[78DEM=>"
