# SPDX-License-Identifier: Apache-2.0
"""A run's folder of results: made beside its place, and put there whole."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farm.core.errors import UserError
from farm.core.files import write_text
from farm.core.places import state_dir
from farm.runs.junit import junit_xml
from farm.runs.report import report_html
from farm.runs.result import RunResult

LATEST = "LATEST"
CONSOLE_LOG = "console.log"
_UNFINISHED = ".unfinished-"
_SCRATCH = "scratch"
_KEPT_OF_SCRATCH = ("board/qemu.log",)


def runs_dir() -> Path:
    """Where runs leave their folders unless told otherwise."""
    return state_dir() / "runs"


def now_iso() -> str:
    """The time of day in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class RunFolder:
    """The folder of one run; use it in a `with` block, and `finish` it there.

    What is not finished when the block ends is removed. A folder that a killed process left
    is removed by the next run.

    Args:
        root: where runs' folders are; None for the usual place.
        what: a target or board, for the name.

    Raises:
        UserError: the place cannot be written.
    """

    def __init__(self, root: Path | None, what: str) -> None:
        self.root = (root or runs_dir()).absolute()
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        self.id = f"{moment}-{what}-{secrets.token_hex(2)}"
        self.path = self.root / self.id
        self._work = self.root / f"{_UNFINISHED}{_host()}-{os.getpid()}-{self.id}"

    def __enter__(self) -> RunFolder:
        try:
            self._work.mkdir(parents=True)
        except OSError as error:
            raise UserError(
                f"{self.root}: no folder for results can be made there: {error.strerror}",
                hint="name another place with --results",
            ) from error
        _remove_left(self.root)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    @property
    def console_log(self) -> Path:
        """Where the console is logged while the run goes."""
        return self._work / CONSOLE_LOG

    @property
    def scratch(self) -> Path:
        """A folder for the time of the run, for a virtual board; its log of QEMU is kept."""
        folder = self._work / _SCRATCH
        folder.mkdir(exist_ok=True)
        return folder

    def finish(self, result: RunResult) -> None:
        """Write everything about the run, and put the folder in its place."""
        verdict = result.verdict
        _write_json(self._work / "verdict.json", result.to_json())
        timeline = verdict.to_json()
        _write_json(
            self._work / "timeline.json",
            {
                name: timeline[name]
                for name in ("format", "marks", "timeline", "arrivals", "skipped")
            },
        )
        if not self.console_log.exists():
            self.console_log.touch()
        for name in _KEPT_OF_SCRATCH:
            kept = self._work / _SCRATCH / name
            if kept.exists() and (kept.stat().st_size or kept.name in verdict.next_step):
                kept.rename(self._work / kept.name)
        shutil.rmtree(self._work / _SCRATCH, ignore_errors=True)
        write_text(self._work / "junit.xml", junit_xml(result))
        write_text(self._work / "report.html", report_html(result, self.console_log))
        self._work.rename(self.path)
        beside = self.root / f".{LATEST}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(self.id)
        beside.rename(self.root / LATEST)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _remove_left(root: Path) -> None:
    for folder in _left(root):
        shutil.rmtree(folder, ignore_errors=True)


def _host() -> str:
    """This machine's name, without what separates the parts of a folder's name."""
    return socket.gethostname().replace("-", "_").replace("/", "_")[:64]


def _left(root: Path) -> Iterator[Path]:
    # Another machine may share the folder: what runs there is not known here.
    mine = f"{_UNFINISHED}{_host()}-"
    for folder in root.glob(f"{_UNFINISHED}*"):
        pid = folder.name.removeprefix(mine).partition("-")[0]
        if folder.name.startswith(mine) and pid.isdecimal() and not Path("/proc", pid).exists():
            yield folder
