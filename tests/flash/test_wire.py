# SPDX-License-Identifier: Apache-2.0
"""The wire's frames: what is written is read, and nothing else is taken for a frame."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.flash import wire
from farm.flash.codec import compress
from farm.flash.helper import _decompress, _runs
from farm.flash.wire import BLOCK_BYTES

indexes = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=wire.BATCH_BLOCKS)


def _reader(data: bytes, step: int = 7) -> object:
    """Reads as a pipe does: seldom as much as was asked for."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, step))


def _frames(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    read = _reader(data)
    while frame := wire.read_frame(read):  # type: ignore[arg-type]
        found.append(frame)
    return found


@given(
    st.lists(
        st.tuples(st.sampled_from([wire.HEADER, wire.NEEDED, wire.DATA]), st.binary(max_size=300))
    )
)
def test_frames(frames: list[tuple[bytes, bytes]]) -> None:
    assert _frames(b"".join(wire.encode(*frame) for frame in frames)) == frames


@given(st.binary(max_size=400))
def test_noise_is_an_error_or_frames_within_their_limits(data: bytes) -> None:
    try:
        frames = _frames(data)
    except wire.WireError:
        return
    assert all(len(payload) <= wire.LIMITS[kind] for kind, payload in frames)
    assert b"".join(wire.encode(*frame) for frame in frames) == data


@pytest.mark.parametrize("kind", sorted(wire.LIMITS))
def test_too_long_is_refused_before_it_is_read(kind: bytes) -> None:
    head = kind + (wire.LIMITS[kind] + 1).to_bytes(4, "big")
    with pytest.raises(wire.WireError):
        wire.read_frame(io.BytesIO(head).read)
    with pytest.raises(ValueError, match="a frame"):
        wire.encode(kind, bytes(wire.LIMITS[kind] + 1))


@given(st.integers(1, 40))
def test_an_end_within_a_frame(cut: int) -> None:
    frame = wire.encode(wire.HEADER, bytes(36))
    with pytest.raises(wire.WireError, match="within a frame"):
        wire.read_frame(io.BytesIO(frame[:cut]).read)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_tables_and_lists(numbers: list[int]) -> None:
    digests = [wire.digest(str(number).encode()) for number in numbers]
    *tables, end = _frames(b"".join(wire.encode_table(numbers, digests)))
    assert end == (wire.TABLE_END, b"")
    entries = [entry for _, payload in tables for entry in wire.decode_table(payload)]
    assert entries == list(zip(numbers, digests, strict=True))
    lists = _frames(b"".join(wire.encode_indexes(numbers)))
    assert [n for _, payload in lists for n in wire.decode_indexes(payload)] == numbers


def test_long_tables_and_lists_are_split() -> None:
    numbers = list(range(10_000))
    digests = [bytes(16)] * len(numbers)
    assert len(list(wire.encode_table(numbers, digests))) > 3
    assert len(list(wire.encode_indexes(numbers))) == 3


@given(
    indexes, st.sampled_from([wire.RAW, wire.ZLIB, wire.ZSTD, wire.ZERO]), st.binary(max_size=99)
)
def test_data(numbers: list[int], codec: int, payload: bytes) -> None:
    data = wire.Data(codec, tuple(numbers), payload)
    kind, body = _frames(wire.encode_data(data))[0]
    assert kind == wire.DATA
    assert wire.decode_data(body) == data


@given(st.binary(max_size=100))
def test_damaged_payloads(payload: bytes) -> None:
    for decode in (
        wire.decode_data,
        wire.decode_indexes,
        wire.decode_progress,
        lambda data: list(wire.decode_table(data)),
    ):
        try:
            decode(payload)
        except wire.WireError:
            continue


@given(
    st.lists(st.sampled_from(["zero", "noise", "text", "almost"]), min_size=1, max_size=20),
    st.booleans(),
)
def test_blocks_survive_their_codec(kinds: list[str], zstd: bool) -> None:
    rng = random.Random(len(kinds))
    make = {
        "zero": bytes(BLOCK_BYTES),
        "noise": rng.randbytes(BLOCK_BYTES),
        "text": b"some text " * 6553 + b"123456",
        "almost": bytes(BLOCK_BYTES - 1) + b"\1",
    }
    blocks = {index * 3: make[kind] for index, kind in enumerate(kinds)}
    found = {}
    for data in compress(list(blocks), list(blocks.values()), zstd=zstd):
        raw = _decompress(data, len(data.indexes) * BLOCK_BYTES)
        for at, index in enumerate(data.indexes):
            found[index] = raw[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES]
        assert len(wire.encode_data(data)) <= 5 + wire.LIMITS[wire.DATA]
    assert found == blocks


@pytest.mark.parametrize("codec", [wire.RAW, wire.ZLIB, wire.ZSTD, wire.ZERO])
@pytest.mark.parametrize("payload", [b"", b"x" * 50])
def test_what_does_not_unpack_is_an_error(codec: int, payload: bytes) -> None:
    if (codec, payload) == (wire.ZERO, b""):
        return
    with pytest.raises(wire.WireError):
        _decompress(wire.Data(codec, (0,), payload), BLOCK_BYTES)


@given(st.lists(st.integers(0, 200), unique=True).map(sorted))
def test_runs(numbers: list[int]) -> None:
    runs = [list(run) for run in _runs(numbers)]
    assert [number for run in runs for number in run] == numbers
    for run in runs:
        assert run == list(range(run[0], run[0] + len(run)))
        assert len(run) <= 16


def test_the_mark_is_no_boot_sector() -> None:
    mark = wire.unfinished_mark("0123abcd" * 20)
    assert len(mark) == 512 and mark[510:] == b"\0\0"
    assert wire.unfinished_image(mark) == ("0123abcd" * 20)[:64]
    assert wire.unfinished_image(bytes(512)) is None
