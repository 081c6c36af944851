# SPDX-License-Identifier: Apache-2.0
"""farm's progress as lines of pytest's terminal, past its capturing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from farm.core.progress import Task


class _Quiet:
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        pass


class PytestReporter:
    """Writes what has ended, and notes; nothing that repeats.

    Args:
        terminal: pytest's terminal reporter, or None where it has been turned off.
        capture: pytest's capture manager, or None.
    """

    def __init__(self, terminal: Any, capture: Any) -> None:  # noqa: ANN401 - pytest's are not public
        self._terminal = terminal
        self._capture = capture

    @contextlib.contextmanager
    def task(self, title: str) -> Iterator[Task]:
        """One line when the task has ended."""
        begin = time.monotonic()
        yield _Quiet()
        self.note(f"{title}: {time.monotonic() - begin:.1f} s")

    def note(self, text: str) -> None:
        """One line."""
        if self._terminal is None:
            return
        pause = contextlib.nullcontext()
        if self._capture is not None:
            pause = self._capture.global_and_fixture_disabled()
        with pause:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"farm: {text}")
