# SPDX-License-Identifier: Apache-2.0
"""The lines between client and agent, also malformed ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.bench.errors import BusyError, LeaseLostError, RefusedError
from farm.bench.protocol import (
    LINE_LIMIT,
    LeaseInfo,
    LineSplitter,
    ProtocolError,
    TargetState,
    decode,
    encode,
    error_from_message,
    error_to_message,
    from_text,
    lease_from,
    to_text,
)
from farm.core.errors import BenchError, UserError


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_come_out_however_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter, out = LineSplitter(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        out += splitter.feed(stream[:size])
        stream = stream[size:]
    assert out == lines


@given(st.binary(max_size=200))
def test_any_line_is_a_message_or_a_protocol_error(line: bytes) -> None:
    try:
        assert isinstance(decode(line), dict)
    except ProtocolError as error:
        assert str(error)


def test_a_line_has_a_limit() -> None:
    splitter = LineSplitter()
    splitter.feed(b"x" * LINE_LIMIT)
    with pytest.raises(ProtocolError):
        splitter.feed(b"x")
    with pytest.raises(ProtocolError):
        decode(b'"' + b"x" * LINE_LIMIT)
    with pytest.raises(ProtocolError):
        encode({"x": "y" * LINE_LIMIT})
    with pytest.raises(ProtocolError):
        decode(b"[" * 50_000)


@given(st.binary())
def test_bytes_survive(data: bytes) -> None:
    assert from_text(to_text(data)) == data


@pytest.mark.parametrize("wrong", [None, 7, "ä", "abc"])
def test_what_is_no_base64_is_refused(wrong: object) -> None:
    with pytest.raises(ProtocolError):
        from_text(wrong)


def test_a_state_survives() -> None:
    lease = LeaseInfo("ann", "work", 1.5)
    state = TargetState("a", "rpi4", "fault: x", "open", lease, ("bob",), True)
    assert TargetState.from_message(decode(encode(state.to_message()))) == state
    with pytest.raises(ProtocolError):
        TargetState.from_message({"name": "a"})


@pytest.mark.parametrize(
    "error",
    [
        BusyError("m", hint="h", holder="ann", since=1.5, reason="work"),
        LeaseLostError("m", hint="h"),
        RefusedError("m", hint="h"),
        UserError("m", hint="h"),
        BenchError("m", hint="h"),
    ],
)
def test_an_error_keeps_its_kind_and_words(error: BenchError | UserError) -> None:
    again = error_from_message(decode(encode(error_to_message(error))), "host: step")
    assert type(again) is type(error)
    assert (again.message, again.hint) == ("host: step: m", "h")
    if isinstance(again, BusyError):
        assert (again.holder, again.since, again.reason) == ("ann", 1.5, "work")


def test_words_of_others_are_harmless_to_print() -> None:
    hostile = "\x1b]0;x\x07\u202e\nann ä"
    message = {"kind": "busy", "message": hostile, "hint": hostile, "holder": hostile,
               "since": 1, "reason": hostile}  # fmt: skip
    error = error_from_message(message, "h")
    assert isinstance(error, BusyError)
    info = lease_from({"owner": hostile, "reason": hostile, "since": 1})
    clean = r"\x1b]0;x\x07\u202e\nann ä"
    assert {error.holder, error.reason, error.hint, info.owner, info.reason} == {clean}
    assert str(error) == f"h: {clean}"
