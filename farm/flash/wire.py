# SPDX-License-Identifier: Apache-2.0
"""The wire between `farm.flash.client` and its helper on the bench host: frames, version 1.

Standard library only, Python 3.9: this file is sent to the bench host.

The helper writes the line MAGIC; whatever stands before it comes from the account's shell.
Then both sides send frames: one byte of kind, four bytes of length (big endian), payload.

    client: HEADER (JSON), TABLE (20 bytes a block: index, digest) ..., TABLE_END,
            then DATA and PING, and FINISH as the answer to PROVEN
    helper: INFO (JSON), then NEEDED (4 bytes a block), PROGRESS, SCANNED (nothing more will
            be needed), PROVEN (all but the first sector is on the card), and last RESULT or
            FAILURE (both JSON)

The helper writes the first sector only after FINISH: a client that has not sent it knows that
the card does not boot.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

VERSION = 1
MAGIC = b"FARM-FLASH/1 ready\n"
BLOCK_BYTES = 65536
DIGEST_BYTES = 16
SECTOR_BYTES = 512
HEARTBEAT_S = 2.0
SILENCE_S = 10.0

HEADER, TABLE, TABLE_END, DATA, PING, FINISH = b"H", b"T", b"E", b"D", b"P", b"F"
INFO, NEEDED, PROGRESS, SCANNED, PROVEN = b"I", b"N", b"S", b"C", b"V"
RESULT, FAILURE = b"R", b"X"

RAW, ZLIB, ZSTD, ZERO = 0, 1, 2, 3

BATCH_BLOCKS = 64
_TABLE_ENTRIES = 3000
_INDEXES = 4096
# No frame may be longer than this, by kind.
LIMITS = {
    HEADER: 16384,
    TABLE: _TABLE_ENTRIES * (4 + DIGEST_BYTES),
    TABLE_END: 0,
    DATA: 4 + BATCH_BLOCKS * (4 + BLOCK_BYTES),
    PING: 0,
    FINISH: 0,
    INFO: 16384,
    NEEDED: _INDEXES * 4,
    PROGRESS: 16,
    SCANNED: 0,
    PROVEN: 0,
    RESULT: 16384,
    FAILURE: 16384,
}

_MARK_BEGIN = b"FARM UNFINISHED "


class WireError(Exception):
    """The other side does not keep to the protocol."""


class Data(NamedTuple):
    """A DATA frame: the blocks at `indexes`, one after the other, encoded by `codec`."""

    codec: int
    indexes: tuple[int, ...]
    payload: bytes


class Progress(NamedTuple):
    """A PROGRESS frame: blocks so far."""

    scanned: int
    differing: int
    written: int
    verified: int


def digest(block: bytes | memoryview) -> bytes:
    """Return the digest of a block: SHA-256, cut to 16 bytes."""
    return hashlib.sha256(block).digest()[:DIGEST_BYTES]


def block_length(index: int, size_bytes: int) -> int:
    """Return the length of a block of an image: the last one may be shorter."""
    return min(BLOCK_BYTES, size_bytes - index * BLOCK_BYTES)


def encode(kind: bytes, payload: bytes = b"") -> bytes:
    """Return a frame."""
    if len(payload) > LIMITS[kind]:
        raise ValueError(f"a frame {kind!r} of {len(payload)} bytes")
    return kind + struct.pack(">I", len(payload)) + payload


def read_frame(read: Callable[[int], bytes]) -> tuple[bytes, bytes] | None:
    """Read one frame.

    Args:
        read: returns at most so many bytes, at least one; b"" at the end.

    Returns:
        kind and payload; None at an end between two frames.

    Raises:
        WireError: unknown kind, too long for its kind, or an end within the frame.
    """
    head = _read_exactly(read, 5, at_boundary=True)
    if not head:
        return None
    kind, length = head[:1], struct.unpack(">I", head[1:])[0]
    if kind not in LIMITS:
        raise WireError(f"a frame of unknown kind {kind!r}")
    if length > LIMITS[kind]:
        raise WireError(f"a frame {kind!r} of {length} bytes")
    return kind, _read_exactly(read, length, at_boundary=False)


def encode_table(indexes: Sequence[int], digests: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the frames of a table of blocks, TABLE_END included."""
    for start in range(0, len(indexes), _TABLE_ENTRIES):
        rows = range(start, min(start + _TABLE_ENTRIES, len(indexes)))
        yield encode(
            TABLE, b"".join(struct.pack(">I", indexes[row]) + digests[row] for row in rows)
        )
    yield encode(TABLE_END)


def decode_table(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield index and digest of each entry of a TABLE frame."""
    entry = 4 + DIGEST_BYTES
    if len(payload) % entry:
        raise WireError("a table that ends within an entry")
    for at in range(0, len(payload), entry):
        yield struct.unpack_from(">I", payload, at)[0], payload[at + 4 : at + entry]


def encode_indexes(indexes: Iterable[int]) -> Iterator[bytes]:
    """Yield NEEDED frames."""
    packed = b"".join(struct.pack(">I", index) for index in indexes)
    for at in range(0, len(packed), LIMITS[NEEDED]):
        yield encode(NEEDED, packed[at : at + LIMITS[NEEDED]])


def decode_indexes(payload: bytes) -> tuple[int, ...]:
    """Return the block indexes of a NEEDED frame."""
    if len(payload) % 4:
        raise WireError("a list of blocks that ends within a number")
    return struct.unpack(f">{len(payload) // 4}I", payload)


def encode_data(data: Data) -> bytes:
    """Return a DATA frame."""
    head = struct.pack(f">BxH{len(data.indexes)}I", data.codec, len(data.indexes), *data.indexes)
    return encode(DATA, head + data.payload)


def decode_data(payload: bytes) -> Data:
    """Return what a DATA frame holds; the payload is not decoded."""
    if len(payload) < 4:
        raise WireError("a data frame without its head")
    codec, count = struct.unpack_from(">BxH", payload)
    if not 1 <= count <= BATCH_BLOCKS or len(payload) < 4 + 4 * count:
        raise WireError(f"a data frame of {count} blocks in {len(payload)} bytes")
    if codec not in (RAW, ZLIB, ZSTD, ZERO):
        raise WireError(f"a data frame of unknown codec {codec}")
    indexes = struct.unpack_from(f">{count}I", payload, 4)
    return Data(codec, indexes, payload[4 + 4 * count :])


def encode_progress(progress: Progress) -> bytes:
    """Return a PROGRESS frame."""
    return encode(PROGRESS, struct.pack(">4I", *progress))


def decode_progress(payload: bytes) -> Progress:
    """Return what a PROGRESS frame says."""
    if len(payload) != 16:
        raise WireError("a progress frame of the wrong length")
    return Progress(*struct.unpack(">4I", payload))


def unfinished_mark(image: str) -> bytes:
    """Return the first sector of a card that is being written: no boot signature, a text.

    Args:
        image: what is being written, in a word.
    """
    text = _MARK_BEGIN + image.encode("ascii", "replace")[:64]
    text += b"\nThis card was not written to its end and does not boot. Flash it again.\n"
    return text.ljust(SECTOR_BYTES, b"\0")


def unfinished_image(sector: bytes) -> str | None:
    """Return what an unfinished flash was writing; None where the sector is no mark."""
    if not sector.startswith(_MARK_BEGIN):
        return None
    word = sector[len(_MARK_BEGIN) : SECTOR_BYTES].split(b"\n", 1)[0]
    return word.decode("ascii", "replace")


def _read_exactly(read: Callable[[int], bytes], length: int, *, at_boundary: bool) -> bytes:
    parts = []
    left = length
    while left:
        part = read(min(left, 65536))
        if not part:
            if at_boundary and left == length:
                return b""
            raise WireError("an end within a frame")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
