# SPDX-License-Identifier: Apache-2.0
"""A run's console log: every byte, and when each line began."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import BinaryIO

from farm.core.errors import UserError
from farm.smoke.lines import harmless

LIMIT_BYTES = 64 << 20
"""A console that writes more than this is cut off in the log, which says so."""


class ConsoleLog:
    """Writes `console.log`.

    Each line is stamped with the time of day (UTC) at which its first byte was read, and with
    the target's clock since the log began; then come its bytes as they were, escape sequences
    and all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        self._fresh = True
        self._zero_s: float | None = None
        try:
            self._file: BinaryIO = path.open("xb")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error

    def write(self, data: bytes, clock_s: float, wall: float) -> None:
        """Add bytes of the console."""
        if self._zero_s is None:
            self._zero_s = clock_s
        if self._written > LIMIT_BYTES:
            return
        stamp = f"{_iso(wall)} {clock_s - self._zero_s:10.3f} ".encode()
        for part in data.splitlines(keepends=True) if data else ():
            if self._fresh:
                self._put(stamp)
            self._put(part)
            self._fresh = part.endswith(b"\n")
        if self._written > LIMIT_BYTES:
            self._put(b"\n[the log ends here: the console wrote more than 64 MiB]\n")
        self._file.flush()

    def note(self, text: str, wall: float) -> None:
        """Add a line of farm's own, marked as such."""
        if not self._fresh:
            self._put(b"\n")
        self._put(f"{_iso(wall)}            --- {harmless(text)}\n".encode())
        self._fresh = True
        self._file.flush()

    def close(self) -> None:
        """End the log."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._written += len(data)


def read_log(path: Path, limit_bytes: int = 512 << 10) -> str:
    """Return the end of a console log as text that is safe to show."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit_bytes))
        data = file.read(limit_bytes)
    text = data.decode("utf-8", "surrogateescape")
    lines = [harmless(line.rstrip("\r")) for line in text.split("\n")]
    if size > limit_bytes:
        lines[0] = f"[{size - limit_bytes} bytes before this are in {path.name}]"
    return "\n".join(lines).rstrip("\n")


def _iso(wall: float) -> str:
    moment = datetime.datetime.fromtimestamp(wall, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
