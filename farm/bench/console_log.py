# SPDX-License-Identifier: Apache-2.0
"""A console's log on disk: each line with the time of its first byte, in bounded files. Pure.

    2025-01-01T12:00:00.123456Z 5150.001234 | text of the line
                                            + the line before goes on
                                            = what the agent did or saw

Wall time, monotonic time, a mark, the text. In the text, UTF-8 is kept; control characters
other than tab, bytes that are no UTF-8 and backslashes are written \\xNN, so that the log can be
shown anywhere and the bytes can be had back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from farm.core.errors import BenchError

_FILE_BYTES = 8 << 20
_FILES = 4
_LINE_BYTES = 4096


class ConsoleLog:
    """Appends to `path`; older parts are `path.1` (the newest of them) to `path.3`.

    Args:
        path: the log's file.
        clock, wall: monotonic time and time of the epoch, in seconds.
        file_bytes: when the next file is begun.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        file_bytes: int = _FILE_BYTES,
    ) -> None:
        self._path = path
        self._clock = clock
        self._wall = wall
        self._file_bytes = file_bytes
        self._line = bytearray()
        self._begun: tuple[float, float] | None = None
        self._continues = False
        self._file = self._open()
        self._size = self._file.seek(0, os.SEEK_END)

    def feed(self, data: bytes) -> None:
        """Add bytes of the console.

        Raises:
            BenchError: the disk is full.
        """
        for piece in data.splitlines(keepends=True) if data else ():
            if self._begun is None:
                self._begun = (self._wall(), self._clock())
            self._line += piece
            while len(self._line) > _LINE_BYTES:
                head, self._line = self._line[:_LINE_BYTES], self._line[_LINE_BYTES:]
                self._write_line(bytes(head), ends=False)
            if piece.endswith(b"\n"):
                self._write_line(bytes(self._line.rstrip(b"\r\n")), ends=True)
                self._line.clear()
                self._begun = None
        self._flush()

    def settle(self, older_than_s: float = 2.0) -> None:
        """Write an unfinished line, such as a prompt, that has waited for its end."""
        if self._begun is not None and self._line:
            if self._clock() - self._begun[1] < older_than_s:
                return
            self._write_line(bytes(self._line), ends=False)
            self._line.clear()
            self._begun = None
            self._flush()

    def mark(self, text: str) -> None:
        """Add a line of the agent's own."""
        self.settle(0)
        self._continues = False
        self._write("=", text.encode(errors="replace"), (self._wall(), self._clock()))
        self._flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self.settle(0)
        self._file.close()

    def _write_line(self, text: bytes, *, ends: bool) -> None:
        assert self._begun is not None
        self._write("+" if self._continues else "|", text, self._begun)
        self._continues = not ends

    def _write(self, mark: str, text: bytes, when: tuple[float, float]) -> None:
        wall, clock = when
        line = f"{stamp(wall)} {clock:.6f} {mark} {escape(text)}\n".encode()
        try:
            if self._size + len(line) > self._file_bytes:
                self._rotate()
            self._size += self._file.write(line)
        except OSError as error:
            raise self._failed(error) from error

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _rotate(self) -> None:
        self._file.close()
        for number in range(_FILES - 1, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._file = self._open()
        self._size = 0

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open(self) -> BinaryIO:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._path.open("ab")
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> BenchError:
        return BenchError(f"{self._path}: console log: {error.strerror or error}")


def stamp(wall: float) -> str:
    """Return a moment of the epoch as ISO 8601 with microseconds."""
    whole = int(wall // 1)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{text}.{int((wall - whole) * 1e6):06d}Z"


def escape(data: bytes) -> str:
    """Return bytes as printable text, reversibly."""
    text = data.replace(b"\\", rb"\x5c").decode("utf-8", errors="backslashreplace")
    return "".join(c if c == "\t" or c.isprintable() else _escaped(c) for c in text)


def unescape(text: str) -> bytes:
    """Return the bytes that `escape` was given.

    Raises:
        ValueError: it was not written by `escape`.
    """
    head, *pieces = text.split("\\x")
    data = bytearray(head.encode())
    for piece in pieces:
        data += bytes.fromhex(piece[:2]) + piece[2:].encode()
    return bytes(data)


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
