# SPDX-License-Identifier: Apache-2.0
"""farm as a person runs it: a process, its exit code, what it says."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.bench.process_table import own_processes
from farm.core.run import PIPE, Process, run, spawn

FARM = Path(sys.executable).with_name("farm")
# A machine that is busy with other tests still ends in this time, or something hangs.
PATIENCE_S = 600.0
_PASSED_ON = ("FARM_CACHE", "FARM_MIRROR", "COVERAGE_PROCESS_START")


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (any JSON)
        return json.loads(self.out)


@dataclass(frozen=True)
class Farm:
    """farm's command line in a folder, with state of its own."""

    folder: Path
    state: Path
    program: Path = FARM

    def __call__(self, *words: str | Path, env: Mapping[str, str] | None = None) -> Said:
        """Run a command to its end."""
        done = run(
            [self.program, *words],
            cwd=self.folder,
            env={**self.environment(), **(env or {})},
            timeout_s=PATIENCE_S,
            check=False,
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *words: str | Path) -> Process:
        """Start a command that goes on; it has pipes, and is a session of its own."""
        return spawn(
            [self.program, *words],
            cwd=self.folder,
            env=self.environment(),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            new_session=True,
        )

    def environment(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {**passed, "FARM_STATE": str(self.state)}

    def status(self, target: str) -> dict[str, Any]:
        """What `farm bench status` says of a target."""
        rows = self("bench", "status", "--json").json
        return next(row for row in rows if row["name"] == target)

    def processes(self) -> list[str]:
        """What runs and has to do with this state."""
        place = str(self.state)
        return [
            " ".join(process.argv)[:120]
            for process in own_processes()
            if any(place in word for word in process.argv)
        ]


def ended(process: Process) -> Said:
    """Wait for a started command's end."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return Said(process.returncode, out.decode(), err.decode())
