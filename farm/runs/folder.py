# SPDX-License-Identifier: Apache-2.0
"""A run's folder of results: made beside its place, and put there whole."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from farm.core.errors import FarmError, UserError
from farm.core.files import write_text
from farm.core.places import state_dir
from farm.runs.console_log import ConsoleLog
from farm.runs.junit import junit_xml
from farm.runs.report import report_html
from farm.runs.result import Run, RunResult, Timing
from farm.smoke.verdict import Verdict

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
    """The folder of one run; use it in a `with` block, `log` the console and `finish` it there.

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
        self._started = now_iso()
        self._begin = time.monotonic()
        self._warnings: list[str] = []
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
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made: {error.strerror}") from error
        return folder

    @contextlib.contextmanager
    def log(self) -> Iterator[ConsoleLog]:
        """Log the console while a block lasts; the result tells if the log is cut."""
        log = ConsoleLog(self.console_log)
        try:
            yield log
        finally:
            log.close()
            if log.trouble:
                self._warnings.append(log.trouble)

    def finish(self, run: Run, verdict: Verdict) -> RunResult:
        """Write everything about the run, and put the folder in its place.

        Args:
            run: what was run.
            verdict: what came out of it. Whatever happens to the disk, it is kept, and its
                warnings say what could not be written.
        """
        whole = Timing("whole run", time.monotonic() - self._begin)
        record = run.record
        return self.keep(
            RunResult(
                id=self.id,
                folder=self.path,
                image=str(run.image),
                digest=record.digest if record else None,
                assembly=record.name if record else None,
                board=run.board,
                target=run.target,
                started=self._started,
                command=tuple(run.command),
                verdict=verdict,
                timings=(*run.timings, whole),
                flashed=run.flashed,
            )
        )

    def keep(self, result: RunResult) -> RunResult:
        """Write a result, and put the folder in its place; return it with its warnings."""
        result = _warned(result, self._warnings)
        try:
            # First of all, since a virtual board's card is in there: that makes room.
            self._clear_scratch(result.verdict)
            self._write(result)
        except (FarmError, OSError) as error:
            why = error.message if isinstance(error, FarmError) else error.strerror or str(error)
            result = _warned(result, [f"the run's folder is not whole: {why}"])
        try:
            self._work.rename(self.path)
            beside = self.root / f".{LATEST}.{os.getpid()}"
            beside.unlink(missing_ok=True)
            beside.symlink_to(self.id)
            beside.rename(self.root / LATEST)
        except OSError as error:
            result = _warned(result, [f"{self.root}: cannot be written: {error.strerror}"])
        return result

    def _clear_scratch(self, verdict: Verdict) -> None:
        for name in _KEPT_OF_SCRATCH:
            kept = self._work / _SCRATCH / name
            if kept.exists() and (kept.stat().st_size or kept.name in verdict.next_step):
                kept.rename(self._work / kept.name)
        shutil.rmtree(self._work / _SCRATCH, ignore_errors=True)

    def _write(self, result: RunResult) -> None:
        _write_json(self._work / "verdict.json", result.to_json())
        timeline = result.verdict.to_json()
        _write_json(
            self._work / "timeline.json",
            {
                name: timeline[name]
                for name in ("format", "marks", "timeline", "arrivals", "skipped")
            },
        )
        self.console_log.touch()
        write_text(self._work / "junit.xml", junit_xml(result))
        write_text(self._work / "report.html", report_html(result, self.console_log))


def _warned(result: RunResult, texts: Sequence[str]) -> RunResult:
    warnings = (*result.verdict.warnings, *texts)
    verdict = dataclasses.replace(result.verdict, warnings=warnings)
    return dataclasses.replace(result, verdict=verdict)


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
