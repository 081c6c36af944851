# SPDX-License-Identifier: Apache-2.0
"""A virtual bench of tiny boards, up for one test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.bench.process_table import own_processes
from farm.bench.up import (
    BenchState,
    agent_socket,
    bench_down,
    bench_folder,
    bench_state,
    bench_up,
)
from farm.core.progress import SilentReporter
from farm.spec.bench import Bench
from farm.spec.load import load
from farm.spec.project import Project

from .guest import tiny_board

BENCH = """\
format: 1
name: testbench
hosts:
  h1: {kind: loopback}
targets:
  tiny-1: {board: tiny, host: h1, virtual: true}
  tiny-2: {board: tiny, host: h1, virtual: true}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class BenchFiles:
    """A project with a bench that is not up."""

    bench: Bench
    path: Path
    project: Project

    @property
    def folder(self) -> Path:
        return bench_folder(self.bench, self.path)

    @property
    def state(self) -> BenchState:
        return bench_state(self.bench, self.path)

    @property
    def socket(self) -> Path:
        """Where the agent listens."""
        return agent_socket(self.folder / "h1")

    def up(self, *, force: bool = False) -> None:
        bench_up(self.bench, self.path, self.project, SilentReporter(), force=force)

    def down(self, *, force: bool = False) -> bool:
        return bench_down(self.bench, self.path, SilentReporter(), force=force)

    def processes(self) -> list[str]:
        """What runs of this bench, by name."""
        place = str(self.folder)
        return [p.command for p in own_processes() if any(place in word for word in p.argv)]


@pytest.fixture
def bench_files(tmp_path: Path) -> Iterator[BenchFiles]:
    """A bench's files; whatever the test brought up is ended."""
    (tmp_path / "boards").mkdir()
    board = tiny_board().model_dump(mode="json", exclude_none=True)
    (tmp_path / "boards/tiny.yml").write_text(json.dumps(board))
    path = tmp_path / "bench.yml"
    path.write_text(BENCH)
    files = BenchFiles(load(path, Bench), path, Project.find(tmp_path))
    yield files
    files.down(force=True)
    assert files.processes() == []
    log = files.folder / "h1/agent.log"
    if log.exists():
        # Whatever the test did to it, the agent made no mistake of its own. (asyncio logs one
        # of anyio's, when a unix socket becomes readable as its reader is cancelled.)
        mistake = r"ERROR farm\.\S+: [^\n]*\n[^\n]*Traceback"
        assert re.search(mistake, log.read_text()) is None


@pytest.fixture
def bench(bench_files: BenchFiles) -> BenchFiles:
    """A bench that is up."""
    bench_files.up()
    return bench_files
