# SPDX-License-Identifier: Apache-2.0
"""Decompressing archives into a scratch folder, once, within bounds."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from farm.core.errors import BuildError
from farm.core.files import replacing

MAX_UNPACKED_BYTES = 8 << 30
"""Far above any system that goes onto a board's card, far below what fills a disk."""

_MAX_WINDOW_BYTES = 128 << 20
_CHUNK = 1 << 20
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def compression(head: bytes) -> str | None:
    """Return what the first bytes of a file are compressed with, or None."""
    for magic, name in (
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
    ):
        if head.startswith(magic):
            return name
    return None


@contextmanager
def decompressed(file: BinaryIO, codec: str) -> Iterator[BinaryIO]:
    """Open a compressed stream; what is read from it is decompressed."""
    if codec == "gzip":
        with gzip.GzipFile(fileobj=file) as plain:
            yield plain  # type: ignore[misc]  # an io.BufferedIOBase, which has what is used
    elif codec == "xz":
        with lzma.LZMAFile(file) as plain_xz:
            yield plain_xz  # type: ignore[misc]
    else:
        reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        with reader.stream_reader(file, read_across_frames=True, closefd=False) as plain_zstd:
            yield plain_zstd


def unpack(source: BinaryIO, codec: str, out: Path, *, name: str) -> Path:
    """Decompress a stream into a file, unless the file is there already.

    Args:
        source: the compressed stream.
        codec: gzip, zstd or xz.
        out: the file; its name must be derived from the content's digest.
        name: what messages call the stream.

    Raises:
        BuildError: it is damaged, or larger than MAX_UNPACKED_BYTES.
    """
    if out.exists():
        return out
    with replacing(out) as file:
        done = 0
        try:
            with decompressed(source, codec) as plain:
                while piece := plain.read(_CHUNK):
                    done += len(piece)
                    if done > MAX_UNPACKED_BYTES:
                        raise BuildError(
                            f"{name}: larger than {MAX_UNPACKED_BYTES >> 30} GiB when unpacked"
                        )
                    file.write(piece)
        except _DAMAGED as error:
            raise BuildError(
                f"{name}: damaged {codec} data after {done} bytes: {error}",
                hint="remove it, and fetch it again",
            ) from error
    return out


class Window(io.RawIOBase):
    """A part of a file as a file of its own, for streams inside of archives."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._begin = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        self._file.seek(self._begin + self._at)
        data = self._file.read(min(len(view), self._size - self._at))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
