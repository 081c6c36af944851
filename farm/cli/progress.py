# SPDX-License-Identifier: Apache-2.0
"""Progress as a terminal shows it: one live line a task, and a line that stays when it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from farm.core.progress import Task


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._progress.update(self._task, completed=done, total=total, note=note)


class TerminalReporter:
    """Bars while work goes on; what is finished stands above them with its time."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._open = 0

    @contextlib.contextmanager
    def task(self, title: str) -> Iterator[Task]:
        begin = time.monotonic()
        progress = self._enter()
        task = progress.add_task(title, total=None, note="")
        try:
            yield _Bar(progress, task)
        except BaseException:
            progress.remove_task(task)
            raise
        else:
            progress.remove_task(task)
            self.note(f"[green]✓[/] {_escaped(title)} [dim]{time.monotonic() - begin:.1f} s[/]")
        finally:
            self._leave()

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=text.startswith("[green]"))

    def _enter(self) -> Progress:
        with self._lock:
            self._open += 1
            if self._progress is None:
                self._progress = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=24),
                    TextColumn("{task.fields[note]}", markup=False),
                    TimeElapsedColumn(),
                    console=self._console,
                    transient=True,
                )
                self._progress.start()
            return self._progress

    def _leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0 and self._progress is not None:
                self._progress.stop()
                self._progress = None


def _escaped(title: str) -> str:
    return title.replace("[", "\\[")
