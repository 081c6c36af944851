# SPDX-License-Identifier: Apache-2.0
"""Encoding blocks for the wire: zero, raw, zlib or zstd, whichever pays."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import zstandard

from farm.flash import wire

# Above this ratio the host's time to unpack is not worth the bytes.
_WORTH = 0.95
# A bench host without Python 3.14 starts a process a frame for zstd: not for a handful.
_ZSTD_BLOCKS = 16
_ZLIB_LEVEL = 1
_ZSTD_LEVEL = 3


def compress(
    indexes: Sequence[int], pieces: Sequence[bytes], *, zstd: bool
) -> tuple[wire.Data, ...]:
    """Encode blocks into at most two DATA frames: one for those that are zero, one for the rest.

    Args:
        indexes: of the blocks.
        pieces: their bytes, in the same order.
        zstd: whether the host can unpack zstd.
    """
    zero, kept, parts = [], [], []
    for index, piece in zip(indexes, pieces, strict=True):
        if piece.count(0) == len(piece):
            zero.append(index)
        else:
            kept.append(index)
            parts.append(piece)
    found = []
    if zero:
        found.append(wire.Data(wire.ZERO, tuple(zero), b""))
    if kept:
        raw = b"".join(parts)
        if zstd and len(kept) >= _ZSTD_BLOCKS:
            codec, packed = wire.ZSTD, zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(raw)
        else:
            codec, packed = wire.ZLIB, zlib.compress(raw, _ZLIB_LEVEL)
        if len(packed) > len(raw) * _WORTH:
            codec, packed = wire.RAW, raw
        found.append(wire.Data(codec, tuple(kept), packed))
    return tuple(found)
