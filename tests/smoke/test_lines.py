# SPDX-License-Identifier: Apache-2.0
"""Cutting bytes into lines that are safe to show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.smoke.lines import MAX_LINE_BYTES, LineReader, harmless


def test_lines_end_with_any_mixture_of_carriage_returns() -> None:
    reader = LineReader()
    lines = reader.feed(b"one\r\ntwo\r\r\nthree\rfour\n\nfi", 1.0, 2.0)
    assert [line.text for line in lines] == ["one", "two", "three", "four"]
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert reader.rest() == "fi"
    assert [line.text for line in reader.feed(b"ve\n", 3.0, 4.0)] == ["five"]


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=8))
def test_it_does_not_matter_how_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    whole = LineReader()
    expected = [line.text for line in whole.feed(data + b"\n", 0.0, 0.0)]
    reader, texts, at = LineReader(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        texts += [line.text for line in reader.feed(data[at:cut], 0.0, 0.0)]
        at = max(at, cut)
    texts += [line.text for line in reader.feed(b"\n", 0.0, 0.0)]
    assert texts == expected
    assert reader.undecodable_bytes == whole.undecodable_bytes


@given(st.binary(max_size=2000))
def test_nothing_harmful_is_left(data: bytes) -> None:
    for line in LineReader().feed(data + b"\n", 0.0, 0.0):
        assert all(c.isprintable() or c == "\t" for c in line.text)
        line.text.encode()


def test_an_endless_line_is_cut() -> None:
    reader = LineReader()
    lines = [line for _ in range(100) for line in reader.feed(b"x" * 1000, 0.0, 0.0)]
    assert {len(line.text) for line in lines} == {MAX_LINE_BYTES}
    assert len(reader.rest()) < MAX_LINE_BYTES


def test_escapes_go_and_controls_are_spelled() -> None:
    assert harmless("\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07") == "red bell\\x07"
    assert harmless("a\x00b\x9bc") == "a\\x00b\\x9bc"
    assert harmless("evil\u202etxt.exe") == "evil\\u202etxt.exe"
    assert harmless("caf\u00e9 \u4e2d\tok") == "caf\u00e9 \u4e2d\tok"


def test_undecodable_bytes_are_counted() -> None:
    reader = LineReader()
    reader.feed(b"caf\xc3\xa9 \x1b[0m\x07\n\xff\xfe\x00ok\n", 0.0, 0.0)
    assert reader.undecodable_bytes == 3
