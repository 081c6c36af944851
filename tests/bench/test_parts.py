# SPDX-License-Identifier: Apache-2.0
"""The small parts: serial plug, clock, streams, cards, ports, arguments, what the agent loads."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from pathlib import Path

import anyio
import anyio.abc
import pytest

from farm.bench.agent_console import AgentConsole
from farm.bench.channel import WATCHER_LIMIT_BYTES, ClientChannel
from farm.bench.drivers import ConsoleChunk
from farm.bench.errors import RefusedError
from farm.bench.host_drivers import read_token
from farm.bench.host_files import FreePorts
from farm.bench.process_table import end_process, process, waited_s
from farm.bench.protocol import Message
from farm.bench.qemu_arguments import MachineFiles, qemu_argv
from farm.bench.serial_line import SerialLine
from farm.bench.settings import TargetSettings, read_settings
from farm.bench.stream import ConsoleStream
from farm.bench.target_clock import TargetClock
from farm.bench.virtual_card import VirtualCard
from farm.core.errors import BenchError, UserError
from farm.core.run import PIPE, run, spawn

from .guest import tiny_board

pytestmark = pytest.mark.anyio


async def test_a_serial_plug_passes_all_byte_values_both_ways(tmp_path: Path) -> None:
    line = SerialLine(tmp_path / "tty")
    plug = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY)
    everything = bytes(range(256))
    try:
        await line.send(everything)
        assert os.read(plug, 4096) == everything
        os.write(plug, everything)
        assert await line.receive() == everything
    finally:
        os.close(plug)
        line.close()
    assert not (tmp_path / "tty").is_symlink()


async def test_a_plug_that_nobody_reads_drops_bytes_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.bench.serial_line._PATIENCE_S", 0.2)
    line = SerialLine(tmp_path / "tty")
    plug = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        with anyio.fail_after(30):
            await line.send(b"x" * 1_000_000)
            assert line.dropped_bytes > 0
            await line.send(b"y" * 1000)
        got = b""
        while True:
            try:
                got += os.read(plug, 65536)
            except BlockingIOError:
                break
        assert set(got) == {ord("x")}
        await line.send(b"again")
        await anyio.wait_readable(plug)
        assert os.read(plug, 100) == b"again"
    finally:
        os.close(plug)
        line.close()


def test_the_clock_stands_still_while_the_board_waits_for_a_processor() -> None:
    now, waited = [100.0], [0.0]
    clock = TargetClock(clock=lambda: now[0], waited=lambda pid: waited[0])
    now[0] = 110
    assert clock.now_s() == 110
    clock.started(1)
    now[0], waited[0] = 130, 15.0
    assert clock.now_s() == 115
    # The thread that waited most has ended.
    waited[0] = 3
    now[0] = 131
    assert clock.now_s() == 116
    clock.ended()
    clock.started(2)
    now[0], waited[0] = 140, 2.0
    assert clock.now_s() == 123
    now[0], waited[0] = 141, 20.0
    assert clock.now_s() == 123


def test_the_kernel_tells_how_long_a_process_waited() -> None:
    assert waited_s(os.getpid()) >= 0
    assert waited_s(2**22 + 1) == 0


async def test_a_stream_keeps_bytes_in_order_and_merges_ticks() -> None:
    stream = ConsoleStream("t")
    for data in (b"a", b"", b"", b"b"):
        stream.feed(ConsoleChunk(data, 1, 1))
    stream.fail(BenchError("over"))
    assert [(await anext(stream)).data for _ in range(3)] == [b"a", b"", b"b"]
    with pytest.raises(BenchError, match="over"):
        await anext(stream)


async def test_a_stream_nobody_reads_ends_in_an_error() -> None:
    stream = ConsoleStream("t")
    for _ in range(17):
        stream.feed(ConsoleChunk(bytes(1 << 20), 1, 1))
    with pytest.raises(BenchError, match="16 MiB behind"):
        async for _ in stream:
            pass


async def test_a_watcher_that_is_too_slow_is_dropped_with_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TargetSettings("tiny", "loop://", 115200)
    console = AgentConsole("t", settings, tmp_path / "t.log", clock=lambda: 1.0, power=lambda: "on")
    said: list[Message] = []
    here, there = socket.socketpair()
    with here:
        async with (
            await anyio.abc.SocketStream.from_socket(there) as stream,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(console.run)
            await console.port.ready(30)
            channel = ClientChannel(stream)
            monkeypatch.setattr(channel, "say", said.append)
            console.watch(channel)
            channel.waiting_bytes = WATCHER_LIMIT_BYTES + 1
            console.power_changed("off")
            assert said[-1]["event"] == "dropped"
            assert "too slow" in said[-1]["why"]
            told = len(said)
            console.power_changed("on")
            assert len(said) == told
            tasks.cancel_scope.cancel()


def test_a_card_is_at_one_place_only(tmp_path: Path) -> None:
    card = VirtualCard("t", host=tmp_path / "h/t", board=tmp_path / "b/t", size_bytes=4096)
    assert not card.at_host
    card.switch("host")
    card.switch("host")
    assert (card.host.exists(), card.board.exists()) == (True, False)
    with card.host.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match="still holds the card"):
            card.switch("board")
    card.host.write_bytes(b"x" * 4096)
    card.switch("board")
    assert (card.host.exists(), card.board.read_bytes()[:1]) == (False, b"x")
    again = VirtualCard("t", host=card.host, board=card.board, size_bytes=4096)
    assert again.board.read_bytes()[:1] == b"x"
    VirtualCard("t", host=card.host, board=card.board, size_bytes=8192)
    assert card.board.read_bytes() == bytes(8192)


def test_ports_are_free_and_different() -> None:
    ports = FreePorts(5)
    taken = {ports.take() for _ in range(20)}
    assert len(taken) == 20
    assert all(20000 <= port < 32000 for port in taken)


def test_qemu_gets_what_the_board_says(tmp_path: Path) -> None:
    files = MachineFiles(
        card=tmp_path / "a,b.img",
        kernel=tmp_path / "kernel",
        initrd=tmp_path / "initrd",
        device_tree=tmp_path / "dtb",
        console=tmp_path / "c",
        control=tmp_path / "m",
    )
    board = tiny_board(
        machine="raspi3b", card="sd", console_port=1, network="usb-net,netdev=n0", cpus=4
    )
    argv = " ".join(qemu_argv(board, files, cmdline="a b", forwards={22: 2222}))
    for part in (
        "qemu-system-aarch64 -name guest=tiny,debug-threads=on -S -no-reboot",
        "-accel tcg,thread=single",
        "-smp 4",
        "-serial null -serial chardev:console",
        f"if=sd,id=card,format=raw,file={tmp_path}/a,,b.img",
        "-netdev user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22",
        "-device usb-net,netdev=n0",
    ):
        assert part in argv


def test_only_the_process_that_is_meant_is_ended() -> None:
    child = spawn(["cat", "-"], stdin=PIPE, stdout=PIPE)
    with child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"\n"  # it has become cat
        found = process(child.pid)
        assert found is not None
        assert (found.command, found.argv[-1], found.parent) == ("cat", "-", os.getpid())
        other = type(found)(**{**vars(found), "started": found.started + 1})
        assert end_process(other, patience_s=1) is False
        assert child.poll() is None
        assert end_process(found, patience_s=5) is False
        assert child.wait() == -15
    assert process(child.pid) is None


def test_secrets_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3\n")
    monkeypatch.setenv("PDU_TOKEN", "s4")
    assert read_token(None, "t") is None
    assert read_token(f"file:{tmp_path}/token", "t") == "s3"
    assert read_token("PDU_TOKEN", "t") == "s4"
    for wrong in ("NO_SUCH_VARIABLE", "file:/nowhere/token"):
        with pytest.raises(BenchError, match="t: token: "):
            read_token(wrong, "t")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "name": 1}'])
def test_an_agents_settings_are_checked(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UserError, match=r"s\.json: "):
        read_settings(tmp_path / "s.json")


def test_an_agent_of_real_boards_loads_only_what_a_bench_host_has() -> None:
    """It will be one archive of pure Python: standard library, anyio, pyserial, pure rooms."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import farm.bench.agent, farm.bench.daemon, farm.bench.connect\n"
        "import anyio._backends._asyncio\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = run([sys.executable, "-c", code]).stdout.decode().split()
    foreign = {
        name.partition(".")[0]
        for name in loaded
        if name.partition(".")[0] not in sys.stdlib_module_names
    }
    assert foreign <= {"farm", "anyio", "serial", "idna", "sniffio", "typing_extensions"}
    rooms = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("farm.")}
    assert rooms == {"farm.bench", "farm.core"}
    forbidden = {"virtual", "virtual_host", "qemu", "client", "up", "host_files", "host_drivers"}
    assert not forbidden & {name.split(".")[2] for name in loaded if name.count(".") > 1}


def test_connect_starts_fast_since_it_loads_little() -> None:
    code = "import sys; import farm.bench.agent, farm.bench.connect; print(*sys.modules)"
    loaded = run([sys.executable, "-c", code]).stdout.decode().split()
    assert not {"anyio", "asyncio", "serial", "pydantic"} & set(loaded)
