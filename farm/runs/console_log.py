# SPDX-License-Identifier: Apache-2.0
"""A run's console log: every byte, and when each line began."""

from __future__ import annotations

import contextlib
import datetime
import os
from pathlib import Path

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
        self.trouble: str | None = None
        """Why the log is cut, where the disk took no more of it."""
        self._written = 0
        self._fresh = True
        self._zero_s: float | None = None
        try:
            # Unbuffered, so that nothing waits in here for a disk that is full.
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error

    def write(self, data: bytes, clock_s: float, wall: float) -> None:
        """Add bytes of the console."""
        if self._zero_s is None:
            self._zero_s = clock_s
        if self._written > LIMIT_BYTES:
            return
        stamp = f"{_iso(wall)} {clock_s - self._zero_s:10.3f} ".encode()
        text = []
        for part in data.splitlines(keepends=True) if data else ():
            if self._fresh:
                text.append(stamp)
            text.append(part)
            self._fresh = part.endswith(b"\n")
        self._put(b"".join(text))
        if self._written > LIMIT_BYTES:
            self._put(b"\n[the log ends here: the console wrote more than 64 MiB]\n")

    def note(self, text: str, wall: float) -> None:
        """Add a line of farm's own, marked as such."""
        line = f"{_iso(wall)}            --- {harmless(text)}\n".encode()
        self._put(line if self._fresh else b"\n" + line)
        self._fresh = True

    def close(self) -> None:
        """End the log; where it is cut, `trouble` says why."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self._cut(error)
        with contextlib.suppress(OSError):
            self._file.close()

    def _put(self, data: bytes) -> None:
        """Write; a boot is judged by what was read, so a full disk must not end it."""
        if self.trouble is not None:
            return
        self._written += len(data)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._cut(error)

    def _cut(self, error: OSError) -> None:
        if self.trouble is None:
            self.trouble = f"{self.path.name} is cut: {error.strerror or error}"


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
