# SPDX-License-Identifier: Apache-2.0
"""A virtual board with a real QEMU: boots, resets, halts, dies, and what is told of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from farm.bench.drivers import ConsoleChunk
from farm.bench.host_files import FreePorts
from farm.bench.process_table import own_processes
from farm.bench.virtual import VirtualBoard
from farm.core.errors import BenchError, UserError
from farm.core.run import spawn

from .guest import HELLO, tiny_board, write_guest_card

pytestmark = [pytest.mark.anyio, pytest.mark.boot]


async def said(chunks: AsyncIterator[ConsoleChunk], what: bytes) -> bytes:
    """Read until the console said `what`; return all of it."""
    heard = b""
    with anyio.fail_after(60):
        while what not in heard:
            heard += (await anext(chunks)).data
    return heard


async def until(board: VirtualBoard, phase: str) -> None:
    """Wait for a phase, by the board's own ticks."""
    with anyio.fail_after(60):
        ticks = board.chunks()
        with contextlib.suppress(BenchError):
            while board.phase != phase:
                await anext(ticks)
    assert board.phase == phase


def qemus(work: Path) -> list[int]:
    return [
        process.pid
        for process in own_processes()
        if process.command.startswith("qemu") and any(str(work) in word for word in process.argv)
    ]


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[VirtualBoard]:
    card = write_guest_card(tmp_path / "card.img")
    async with VirtualBoard(tiny_board(), card, tmp_path / "work", forwards={}) as board:
        yield board
    assert qemus(tmp_path) == []


async def test_boots_and_takes_what_is_typed(board: VirtualBoard) -> None:
    assert board.state == "off"
    chunks = board.chunks()
    await board.power_on()
    log = await said(chunks, HELLO)
    assert log.index(b"extlinux") < log.index(HELLO)
    await board.write(b"typed")
    assert b"typed" in await said(chunks, b"typed")
    assert (board.state, board.phase) == ("on", "kernel")
    await board.power_off()
    assert board.state == "off"


async def test_a_reset_goes_through_the_firmware_and_reads_the_card_anew(
    board: VirtualBoard,
) -> None:
    chunks = board.chunks()
    await board.power_on()
    await said(chunks, HELLO)
    write_guest_card(board.card, hello=b"guest: again")
    await board.write(b"r")
    log = await said(chunks, b"guest: again")
    assert b"extlinux" in log
    assert board.state == "on"


async def test_a_poweroff_halts_a_board_that_stays_powered(board: VirtualBoard) -> None:
    chunks = board.chunks()
    await board.power_on()
    await said(chunks, HELLO)
    await board.write(b"o")
    await until(board, "halted")
    assert board.state == "on"
    assert qemus(board.card.parent) == []
    await board.power_off()
    await board.power_on()
    await said(chunks, HELLO)


async def test_a_card_without_a_kernel_stops_in_the_firmware(board: VirtualBoard) -> None:
    with board.card.open("r+b") as card:
        card.write(bytes(1 << 20))
    chunks = board.chunks()
    await board.power_on()
    await said(chunks, b"firmware stopped: ")
    await until(board, "stopped")
    assert board.state == "on"


async def test_qemu_killed_is_a_fault(board: VirtualBoard) -> None:
    chunks = board.chunks()
    await board.power_on()
    await said(chunks, HELLO)
    (pid,) = qemus(board.card.parent)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(BenchError, match="SIGKILL"), anyio.fail_after(30):
        async for _ in chunks:
            pass
    assert board.state.startswith("fault: QEMU ended (killed by signal 9 (SIGKILL)")
    await board.power_off()
    await board.power_on()
    await said(board.chunks(), HELLO)


async def test_qemu_that_dies_at_start_is_a_fault_with_its_last_words(tmp_path: Path) -> None:
    card = write_guest_card(tmp_path / "card.img")
    wrong = tiny_board(args=("-device", "no-such-device"))
    async with VirtualBoard(wrong, card, tmp_path / "work", forwards={}) as board:
        chunks = board.chunks()
        await board.power_on()
        with pytest.raises(BenchError, match="no-such-device"), anyio.fail_after(30):
            async for _ in chunks:
                pass
        assert "no-such-device" in board.state


async def test_a_flood_of_bytes_does_not_hold_up_the_power_switch(board: VirtualBoard) -> None:
    chunks = board.chunks()
    await board.power_on()
    await said(chunks, HELLO)
    await board.write(b"f")
    heard = 0
    with anyio.fail_after(60):
        while heard < 1 << 20:
            heard += len((await anext(chunks)).data)
        await board.power_off()
    assert board.state == "off"


async def test_leaving_the_block_by_an_error_ends_qemu(tmp_path: Path) -> None:
    card = write_guest_card(tmp_path / "card.img")
    with pytest.raises(ZeroDivisionError):
        async with VirtualBoard(tiny_board(), card, tmp_path / "work", forwards={}) as board:
            chunks = board.chunks()
            await board.power_on()
            await said(chunks, HELLO)
            raise ZeroDivisionError
    assert qemus(tmp_path) == []


async def test_the_clock_ticks_and_never_goes_back(board: VirtualBoard) -> None:
    chunks = board.chunks()
    await board.power_on()
    times = [(await anext(chunks)).clock_s for _ in range(12)]
    assert times == sorted(times)
    assert times[-1] > times[0]


async def test_a_board_without_a_stand_in_is_refused(tmp_path: Path) -> None:
    real = tiny_board().model_copy(update={"stand_in": None})
    with pytest.raises(UserError, match="no QEMU stand-in"):
        VirtualBoard(real, tmp_path / "card", tmp_path, forwards={})


async def test_the_clock_of_a_starved_board_falls_behind(board: VirtualBoard) -> None:
    """Three busy programs share QEMU's processor: limits must not pass early."""
    chunks = board.chunks()
    await board.power_on()
    await said(chunks, HELLO)
    (qemu,) = qemus(board.card.parent)
    if not Path(f"/proc/{qemu}/schedstat").read_text().split()[1:2]:
        pytest.skip("this kernel does not count waiting")
    one = {min(os.sched_getaffinity(0))}
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            hog = stack.enter_context(spawn([sys.executable, "-c", "while True: pass"]))
            stack.callback(hog.kill)
            os.sched_setaffinity(hog.pid, one)
        for thread in Path(f"/proc/{qemu}/task").iterdir():
            os.sched_setaffinity(int(thread.name), one)
        begin_s, begin_wall_s = board.clock_s, time.monotonic()
        # Until the guest, which never idles, has waited for two seconds.
        with anyio.fail_after(120):
            while (lag := time.monotonic() - begin_wall_s - (board.clock_s - begin_s)) < 2:
                await anext(chunks)
        assert lag >= 2


async def test_a_forwarded_port_is_the_boards_as_long_as_it_is_there(tmp_path: Path) -> None:
    card = write_guest_card(tmp_path / "card.img")
    port = FreePorts(17).take()
    networked = tiny_board(network="virtio-net-device,netdev=n0")
    async with VirtualBoard(networked, card, tmp_path / "work", forwards={22: port}) as board:
        assert FreePorts(port - 20000).take() != port
        chunks = board.chunks()
        for _ in range(2):
            await board.power_on()
            await said(chunks, HELLO)
            # QEMU listens there.
            async with await anyio.connect_tcp("127.0.0.1", port):
                pass
            await board.power_off()
    assert FreePorts(port - 20000).take() == port


async def test_a_forwarded_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    card = write_guest_card(tmp_path / "card.img")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = VirtualBoard(tiny_board(), card, tmp_path / "work", forwards={22: port})
        with pytest.raises(BenchError, match=f"tiny: forwarded port {port}: .* in use"):
            async with wrong:
                pass
