# SPDX-License-Identifier: Apache-2.0
"""Whose bench it is: seen from other sessions and projects, and while a lease is held."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from farm.bench.errors import BusyError
from farm.core.run import PIPE, spawn

from .conftest import BenchFiles
from .test_bench import RUN, agent_pid, leased

pytestmark = [pytest.mark.anyio, pytest.mark.boot]


async def test_another_session_finds_the_bench_and_leaves_it_running(
    bench: BenchFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cron's, without the XDG_RUNTIME_DIR of the login session that brought it up."""
    pid = agent_pid(bench)
    async with leased(bench) as lease:
        with monkeypatch.context() as other:
            other.setenv("XDG_RUNTIME_DIR", "")
            other.setenv("TMPDIR", str(tmp_path))
            other.setattr("tempfile.tempdir", str(tmp_path))
            assert bench.state.word == "up"
            await anyio.to_thread.run_sync(bench.up)
            assert agent_pid(bench) == pid
        assert await lease.power.state() == "off"
    sockets = bench.socket.parent
    with monkeypatch.context() as other:
        other.setattr("tempfile.tempdir", str(tmp_path))
        other.delenv("XDG_RUNTIME_DIR", raising=False)
        assert await anyio.to_thread.run_sync(bench.down) is True
    assert bench.processes() == []
    assert not sockets.exists()


async def test_a_broken_bench_is_not_renewed_under_a_lease(bench: BenchFiles) -> None:
    async with leased(bench) as lease:
        (bench.folder / "bench.yml").rename(bench.folder / "away.yml")
        assert bench.state.word == "broken"
        with pytest.raises(BusyError, match="tiny-1 is leased by test") as refused:
            await anyio.to_thread.run_sync(bench.up)
        assert "farm bench up --force" in str(refused.value.hint)
        assert not lease.lost.is_set()
    await anyio.to_thread.run_sync(bench.up)
    assert bench.state.word == "up"


async def test_down_at_once_after_a_killed_run(bench: BenchFiles) -> None:
    run = spawn([sys.executable, "-c", RUN.format(folder=bench.folder)], stdout=PIPE)
    with run:
        assert run.stdout is not None
        assert await anyio.to_thread.run_sync(run.stdout.readline) == b"leased\n"
        run.send_signal(signal.SIGKILL)
        assert await anyio.to_thread.run_sync(bench.down) is True


async def test_two_projects_with_benches_of_one_name(
    bench: BenchFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other/bench.yml"
    path.parent.mkdir()
    path.write_text(bench.path.read_text())
    other = BenchFiles(bench.bench, path, bench.project)
    assert (other.state.word, other.down()) == ("down", False)
    assert bench.state.word == "up"
