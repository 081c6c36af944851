# SPDX-License-Identifier: Apache-2.0
"""What every bench promises: the same tests for the real one and for farm.testing's fake."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from farm.bench.client import open_bench
from farm.bench.errors import BusyError, RefusedError
from farm.core.errors import UserError
from farm.testing.fake_bench import FakeBench, FakeBoard

from .conftest import BenchFiles
from .guest import HELLO, write_guest_card
from .test_virtual_board import said

pytestmark = pytest.mark.anyio

Opener = Callable[[], contextlib.AbstractAsyncContextManager[Any]]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.boot)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens a bench with the targets tiny-1 and tiny-2."""
    if request.param == "real":
        files: BenchFiles = request.getfixturevalue("bench")
        return lambda: open_bench(files.bench, state=files.folder)
    fake = FakeBench(
        {name: FakeBoard("tiny", tmp_path / name, says=HELLO) for name in ("tiny-1", "tiny-2")}
    )

    @contextlib.asynccontextmanager
    async def open_fake() -> AsyncIterator[FakeBench]:
        yield fake

    return open_fake


async def test_a_card_goes_there_and_back_and_guards_the_power(opener: Opener) -> None:
    async with (
        opener() as bench,
        bench.lease(board="tiny", target=None, owner="o", reason="r") as target,
    ):
        assert (target.name, target.board_name) == ("tiny-1", "tiny")
        assert await target.power.state() == "off"
        device = Path(await target.storage.to_host())
        write_guest_card(device)
        assert await target.storage.to_host() == str(device)
        with pytest.raises(RefusedError):
            await target.power.on()
        await target.storage.to_board()
        await target.storage.to_board()
        assert not device.exists()
        chunks = target.console.chunks()
        await target.power.on()
        await said(chunks, HELLO)
        assert await target.power.state() == "on"
        await target.console.write(b"typed")
        await said(chunks, b"typed")
        await target.power.off()
        await target.power.off()
        assert await target.power.state() == "off"
        assert Path(await target.storage.to_host()).stat().st_size == 512 << 20


async def test_a_silent_console_ticks_forward(opener: Opener) -> None:
    async with (
        opener() as bench,
        bench.lease(board=None, target="tiny-2", owner="o", reason="r") as target,
    ):
        chunks = target.console.chunks()
        with anyio.fail_after(60):
            times = [(await anext(chunks)).clock_s for _ in range(4)]
        assert times == sorted(times)


async def test_a_lease_is_ones_own(opener: Opener) -> None:
    async with opener() as bench:
        async with bench.lease(board=None, target="tiny-1", owner="ann", reason="work") as target:
            await target.set_note({"a": [1]})
            for wait_s in (0, 0.2):
                with pytest.raises(BusyError) as busy:
                    async with bench.lease(
                        board=None, target="tiny-1", owner="bob", reason="r", wait_s=wait_s
                    ):
                        pass
                assert (busy.value.holder, busy.value.reason) == ("ann", "work")
            async with bench.lease(board="tiny", target=None, owner="bob", reason="r") as other:
                assert other.name == "tiny-2"
        async with bench.lease(board=None, target="tiny-1", owner="bob", reason="r") as target:
            assert await target.note() == {"a": [1]}


async def test_what_is_not_there_is_the_users_mistake(opener: Opener) -> None:
    async with opener() as bench:
        for board, target in (("rpi9", None), (None, "tiny-9"), ("rpi9", "tiny-1")):
            with pytest.raises(UserError):
                async with bench.lease(board=board, target=target, owner="o", reason="r"):
                    pass


async def test_a_fake_fails_and_is_lost_when_a_test_says_so(tmp_path: Path) -> None:
    board = FakeBoard("rpi4", tmp_path / "card", ports={80: 8080})
    bench = FakeBench({"rpi4-1": board})
    async with bench.lease(board="rpi4", target=None, owner="o", reason="r") as target:
        assert await target.network.endpoint(80) == ("127.0.0.1", 8080)
        chunks = target.console.chunks()
        board.fail("no supply")
        with pytest.raises(Exception, match="no supply"):
            await anext(chunks)
        target.lose("a test says so")
        with pytest.raises(Exception, match="the lease is lost"):
            await target.power.off()
        assert target.lost.is_set()
