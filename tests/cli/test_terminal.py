# SPDX-License-Identifier: Apache-2.0
"""The console's input where it is no terminal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from farm.bench.drivers import ConsoleChunk
from farm.cli.terminal import LEAVE, _connect

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Board:
    """A console that takes what is typed, and ends when it is told to."""

    def __init__(self) -> None:
        self.typed = b""
        self.over = anyio.Event()

    async def chunks(self) -> AsyncIterator[ConsoleChunk]:
        yield ConsoleChunk(b"hello\n", 1.0, 1.0)
        await self.over.wait()

    async def write(self, data: bytes) -> None:
        self.typed += data


@pytest.mark.parametrize(
    ("content", "typed"),
    [(b"ls\nps\n", b"ls\nps\n"), (b"ls\n" + LEAVE + b"ps\n", b"ls\n"), (b"", b"")],
)
async def test_a_file_is_typed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, typed: bytes
) -> None:
    (tmp_path / "keys").write_bytes(content)
    board = Board()
    with (tmp_path / "keys").open() as keys, anyio.fail_after(30):
        monkeypatch.setattr("sys.stdin", keys)
        await _connect(board, may_type=True)
    assert board.typed == typed


@pytest.fixture(params=["/dev/null", "closed"])
def no_input(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing if request.param == "/dev/null" else None)
        yield


@pytest.mark.usefixtures("no_input")
async def test_nothing_to_type() -> None:
    with anyio.fail_after(30):
        await _connect(Board(), may_type=True)


@pytest.mark.usefixtures("no_input")
async def test_watching_goes_on_without_input(capfd: pytest.CaptureFixture[str]) -> None:
    board = Board()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_connect, board, False)
            await anyio.wait_all_tasks_blocked()
            board.over.set()
    assert "hello" in capfd.readouterr().out
