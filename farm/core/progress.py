# SPDX-License-Identifier: Apache-2.0
"""Telling a person how long work goes: lines in a log, bars in a terminal.

Rooms take a `Reporter`; `farm.cli` decides which one it is.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO


class Task(Protocol):
    """One piece of work under way."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say that `done` units (bytes, unless the task's title says else) of `total` are done."""


class Reporter(Protocol):
    """Where rooms tell what they do."""

    def task(self, title: str) -> contextlib.AbstractContextManager[Task]:
        """A piece of work from now to the end of the `with` block."""

    def note(self, text: str) -> None:
        """One line that a person should see."""


class _SilentTask:
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        pass


class SilentReporter:
    """Tells nothing: for tests, and where only the result counts."""

    @contextlib.contextmanager
    def task(self, title: str) -> Iterator[Task]:
        yield _SilentTask()

    def note(self, text: str) -> None:
        pass


class _LineTask:
    def __init__(self, title: str, write: Callable[[str], None], every_s: float) -> None:
        self._title = title
        self._write = write
        self._every_s = every_s
        self._last = time.monotonic()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < self._every_s:
            return
        self._last = now
        share = f" {100 * done // total} %" if total else ""
        self._write(f"{self._title}:{share} {note}".rstrip())


class LineReporter:
    """Plain lines, for logs: the end of each task, and its progress every few seconds."""

    def __init__(self, stream: TextIO | None = None, *, every_s: float = 5.0) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s

    @contextlib.contextmanager
    def task(self, title: str) -> Iterator[Task]:
        begin = time.monotonic()
        yield _LineTask(title, self.note, self._every_s)
        self.note(f"{title}: {time.monotonic() - begin:.1f} s")

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
