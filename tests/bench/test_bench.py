# SPDX-License-Identifier: Apache-2.0
"""A whole virtual bench: real sshd, ser2net, agent and QEMU, used as a run uses it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from farm.bench.client import BenchClient, LeasedTarget, open_bench
from farm.bench.connect import Call, ping, switch_card
from farm.bench.drivers import ConsoleChunk
from farm.bench.errors import BusyError, LeaseLostError, RefusedError
from farm.bench.host_files import FreePorts
from farm.bench.process_table import own_processes, users_of_port
from farm.core.errors import BenchError, UserError
from farm.core.run import PIPE, spawn
from farm.spec.bench import Bench, SshHost, Target
from farm.spec.load import load

from .conftest import BenchFiles
from .guest import HELLO, write_guest_card
from .test_virtual_board import said

pytestmark = [pytest.mark.anyio, pytest.mark.boot]


@contextlib.asynccontextmanager
async def leased(files: BenchFiles, target: str = "tiny-1") -> AsyncIterator[LeasedTarget]:
    async with (
        opened(files) as client,
        client.lease(board=None, target=target, owner="test", reason="a test") as lease,
    ):
        yield lease


@contextlib.asynccontextmanager
async def opened(files: BenchFiles) -> AsyncIterator[BenchClient]:
    async with open_bench(files.bench, state=files.folder) as client:
        yield client


async def put_card(lease: LeasedTarget, hello: bytes = HELLO) -> None:
    """Write a card as a flash does: on the host, through the mux."""
    await lease.power.off()
    device = Path(await lease.storage.to_host())
    await anyio.to_thread.run_sync(lambda: write_guest_card(device, hello=hello))
    await lease.storage.to_board()


def agent_pid(files: BenchFiles) -> int:
    return int(ping(files.socket, timeout_s=10)["pid"])


async def test_a_target_is_leased_flashed_booted_and_typed_at(bench: BenchFiles) -> None:
    async with leased(bench) as lease:
        await put_card(lease)
        assert not Path(await _device(bench)).exists()
        chunks = lease.console.chunks()
        await lease.power.on()
        assert await lease.power.state() == "on"
        log = await said(chunks, HELLO)
        assert log.index(b"extlinux") < log.index(HELLO)
        await lease.console.write(b"typed")
        await said(chunks, b"typed")
        await lease.power.off()
        assert await lease.power.state() == "off"
    text = (bench.folder / "h1/consoles/tiny-1.log").read_text()
    assert " | guest: hello\n" in text
    assert "= lease of test (a test) begins" in text
    for phase in ("on (firmware)", "on (kernel)", "off"):
        assert f"= power: {phase}\n" in text


async def _device(files: BenchFiles) -> str:
    target = load(files.folder / "bench.yml", Bench).targets["tiny-1"]
    assert isinstance(target, Target)
    return target.storage.device


async def test_the_mux_and_the_relay_guard_the_card(bench: BenchFiles) -> None:
    async with leased(bench) as lease:
        device = await lease.storage.to_host()
        assert Path(device).stat().st_size == 512 << 20
        with pytest.raises(RefusedError, match="the bench host has its card"):
            await lease.power.on()
        assert await lease.power.state() == "off"
        await lease.storage.to_board()
        assert not Path(device).exists()
        await lease.power.on()
        with pytest.raises(BenchError, match="not switched while the board is on"):
            await lease.storage.to_host()
        await lease.power.off()
        await lease.storage.to_host()


async def test_the_second_is_told_who_has_it_and_gets_it_in_turn(bench: BenchFiles) -> None:
    places: list[int] = []
    order: list[str] = []

    async def second(client: BenchClient, waiting: anyio.Event) -> None:
        def queued(place: int) -> None:
            places.append(place)
            waiting.set()

        async with client.lease(
            board=None, target="tiny-1", owner="bob", reason="also", wait_s=60, queued=queued
        ):
            order.append("bob")

    async with opened(bench) as client, anyio.create_task_group() as tasks:
        ann = client.lease(board=None, target="tiny-1", owner="ann", reason="first work")
        async with ann:
            with pytest.raises(BusyError, match=r"tiny-1 is leased by ann since 20.*first work"):
                async with client.lease(board=None, target="tiny-1", owner="bob", reason="also"):
                    pass
            async with client.lease(board="tiny", target=None, owner="eve", reason="any") as any_:
                assert any_.name == "tiny-2"
            waiting = anyio.Event()
            tasks.start_soon(second, client, waiting)
            await waiting.wait()
            states = {status.name: status.state for status in await client.status()}
            state = states["tiny-1"]
            assert state is not None and state.lease is not None
            assert (state.lease.owner, state.queue) == ("ann", ("bob",))
            order.append("ann")
    assert (order, places) == (["ann", "bob"], [1])


async def test_waiting_in_vain_ends_in_time_with_the_holders_name(bench: BenchFiles) -> None:
    async with (
        opened(bench) as client,
        client.lease(board=None, target="tiny-1", owner="ann", reason="long work"),
    ):
        with pytest.raises(BusyError, match="ann"):
            async with client.lease(
                board=None, target="tiny-1", owner="bob", reason="x", wait_s=0.3
            ):
                pass
        states = {status.name: status.state for status in await client.status()}
        state = states["tiny-1"]
        assert state is not None
        assert state.queue == ()


async def test_unknown_names_are_the_users_mistake(bench: BenchFiles) -> None:
    async with opened(bench) as client:
        with pytest.raises(UserError, match="no target of board 'rpi9'"):
            async with client.lease(board="rpi9", target=None, owner="x", reason="y"):
                pass
        with pytest.raises(UserError, match="no target 'tiny-9'"):
            async with client.watch_console("tiny-9"):
                pass


async def test_watchers_see_hostile_bytes_alike_and_a_stalled_one_holds_up_nobody(
    bench: BenchFiles,
) -> None:
    heard: dict[str, bytes] = {"lease": b"", "watcher": b""}

    async def listen(name: str, chunks: AsyncIterator[ConsoleChunk]) -> None:
        while len(heard[name]) < 200_000:
            heard[name] += (await anext(chunks)).data

    stalled = await anyio.connect_unix(str(bench.socket))
    async with stalled, leased(bench) as lease, opened(bench) as other:
        await stalled.send(b'{"id": 1, "do": "watch", "target": "tiny-1"}\n')
        await put_card(lease)
        async with other.watch_console("tiny-1") as watched:
            chunks, others = lease.console.chunks(), watched.chunks()
            await lease.power.on()
            await said(chunks, HELLO)
            await said(others, HELLO)
            with pytest.raises(LeaseLostError, match="not leased by this channel"):
                await watched.write(b"x")
            await lease.console.write(b"f")
            with anyio.fail_after(120):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(listen, "lease", chunks)
                    tasks.start_soon(listen, "watcher", others)
            # All byte values, telnet's own escapes among them, in their order.
            first = heard["lease"].index(bytes(range(256)))
            assert heard["lease"][first : first + 150_000] in heard["watcher"] + bytes(1)
            assert first < 1000
            await lease.power.off()


RUN = """\
import anyio
from pathlib import Path
from farm.bench.client import open_bench
from farm.spec.bench import Bench
from farm.spec.load import load
async def main():
    bench = load(Path("{folder}/bench.yml"), Bench)
    async with open_bench(bench, state=Path("{folder}")) as client:
        async with client.lease(board=None, target="tiny-1", owner="run", reason="boot") as lease:
            await lease.power.on()
            print("leased", flush=True)
            await anyio.sleep_forever()
anyio.run(main)
"""


async def test_a_killed_run_leaves_its_target_free(bench: BenchFiles) -> None:
    run = spawn([sys.executable, "-c", RUN.format(folder=bench.folder)], stdout=PIPE)
    with run:
        assert run.stdout is not None
        assert await anyio.to_thread.run_sync(run.stdout.readline) == b"leased\n"
        async with opened(bench) as client:
            with pytest.raises(BusyError):
                async with client.lease(board=None, target="tiny-1", owner="b", reason="r"):
                    pass
            run.send_signal(signal.SIGKILL)
            async with client.lease(
                board=None, target="tiny-1", owner="b", reason="r", wait_s=60
            ) as lease:
                # Nobody is left who would have switched it off.
                assert await lease.power.state() == "off"


async def test_a_killed_agent_ends_the_lease_and_the_next_up_recovers(bench: BenchFiles) -> None:
    async with leased(bench) as lease:
        await put_card(lease)
        chunks = lease.console.chunks()
        await lease.power.on()
        await said(chunks, HELLO)
        await lease.set_note({"unfinished": "image"})
        os.kill(agent_pid(bench), signal.SIGKILL)
        with anyio.fail_after(30):
            await lease.lost.wait()
        with pytest.raises(LeaseLostError, match="tiny-1: the lease is lost"):
            async for _ in chunks:
                pass
        with pytest.raises(LeaseLostError):
            await lease.power.off()
    assert bench.state.word == "broken"
    await anyio.to_thread.run_sync(bench.up)
    assert [name for name in bench.processes() if name.startswith("qemu")] == []
    async with leased(bench) as lease:
        assert await lease.note() == {"unfinished": "image"}
        assert await lease.power.state() == "off"
        # The card is where the mux had it, with what was on it.
        chunks = lease.console.chunks()
        await lease.power.on()
        await said(chunks, HELLO)


async def test_an_agent_that_hangs_is_replaced_by_force_only(
    bench: BenchFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.bench.up._ANSWER_S", 0.5)
    monkeypatch.setattr("farm.bench.up._FORCED_S", 0.5)
    monkeypatch.setattr("farm.bench.up._STOP_S", 0.5)
    stuck = agent_pid(bench)
    os.kill(stuck, signal.SIGSTOP)
    state = bench.state
    assert (state.word, "no answer" in state.why) == ("broken", True)
    for change in (bench.up, bench.down):
        with pytest.raises(BenchError, match="runs and does not say who uses its") as refused:
            await anyio.to_thread.run_sync(change)
        assert "--force` ends it" in str(refused.value.hint)
    await anyio.to_thread.run_sync(lambda: bench.up(force=True))
    assert agent_pid(bench) != stuck
    assert bench.state.word == "up"


async def test_up_twice_is_up_and_down_leaves_nothing(bench: BenchFiles) -> None:
    pid = agent_pid(bench)
    bench.up()
    assert agent_pid(bench) == pid
    async with leased(bench) as lease:
        await put_card(lease)
        await lease.power.on()
        with pytest.raises(BusyError, match=r"h1: .*tiny-1 is leased by test since .*a test"):
            await anyio.to_thread.run_sync(bench.down)
        assert await lease.power.state() == "on"
        assert not lease.lost.is_set()
        await anyio.to_thread.run_sync(lambda: bench.down(force=True))
        await lease.lost.wait()
    assert bench.processes() == []
    assert bench.state.word == "down"
    assert bench.down() is False


async def test_down_ends_logins_whose_sshd_was_killed(bench: BenchFiles) -> None:
    async with leased(bench):
        server = load(bench.folder / "bench.yml", Bench).hosts["h1"]
        assert isinstance(server, SshHost)
        for process in own_processes():
            if any(str(bench.folder) in word for word in process.argv):
                os.kill(process.pid, signal.SIGKILL)
        logins = [user for user in users_of_port(server.port) if user.command == "sshd"]
        assert logins
        await anyio.to_thread.run_sync(bench.down)
        assert [user for user in users_of_port(server.port) if user.command == "sshd"] == []


async def test_a_changed_description_wants_a_fresh_bench(bench: BenchFiles) -> None:
    changed = bench.bench.model_copy(update={"targets": {"tiny-1": bench.bench.targets["tiny-1"]}})
    files = BenchFiles(changed, bench.path, bench.project)
    with pytest.raises(BenchError, match="before it was changed"):
        files.up()


async def test_the_relay_and_the_mux_want_the_leases_secret(bench: BenchFiles) -> None:
    target = load(bench.folder / "bench.yml", Bench).targets["tiny-1"]
    assert isinstance(target, Target)
    url = f"http://127.0.0.1:{target.power.port}"
    with Call(bench.socket) as agent:
        wanted = {"targets": ["tiny-1"], "owner": "o", "reason": "r"}
        secret = agent.ask("lease", wanted, timeout_s=30)["secret"]
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            assert (await http.post("/tiny-1/on")).status_code == 401
            for other in (b"x", b"Bearer x", b"Bearer \xff"):
                answer = await http.post("/tiny-1/on", headers={b"Authorization": other})
                assert answer.status_code == 401
            # Another target's lease opens nothing.
            assert (await http.post("/tiny-2/on", headers=headers)).status_code == 401
            assert (await http.get("/tiny-9/state", headers=headers)).status_code == 404
            assert (await http.get("/tiny-1/on", headers=headers)).status_code == 405
            answer = await http.get("/tiny-1/state", headers=headers)
            assert (answer.status_code, answer.text) == (200, "off\n")
            assert (await http.post("/tiny-1/on", headers=headers)).text == "on\n"
            assert (await http.post("/tiny-1/off", headers=headers)).text == "off\n"
            for wrong in ("", "x"):
                with pytest.raises(LeaseLostError, match="for the holder of its lease only"):
                    switch_card(bench.socket, "tiny-1", "host", wrong)
            switch_card(bench.socket, "tiny-1", "host", secret)
            agent.ask("release", {"target": "tiny-1"}, timeout_s=30)
            assert (await http.post("/tiny-1/on", headers=headers)).status_code == 401
            with pytest.raises(LeaseLostError):
                switch_card(bench.socket, "tiny-1", "board", secret)
    async with await anyio.connect_tcp("127.0.0.1", target.power.port) as raw:
        await raw.send(b"GET /" + b"x" * 100_000)
        assert b" 431 " in await raw.receive()


async def test_qemu_that_dies_at_start_reaches_the_client(bench_files: BenchFiles) -> None:
    board = bench_files.path.parent / "boards/tiny.yml"
    board.write_text(board.read_text().replace('"cortex-a53"', '"no-such-cpu"'))
    await anyio.to_thread.run_sync(bench_files.up)
    async with leased(bench_files) as lease:
        await put_card(lease)
        chunks = lease.console.chunks()
        await lease.power.on()
        with pytest.raises(BenchError, match=r"h1: tiny-1: power: fault: .*no-such-cpu"):
            await said(chunks, HELLO)
        assert "no-such-cpu" in await lease.power.state()
        await lease.power.off()
        assert await lease.power.state() == "off"


async def test_two_benches_of_one_name_do_not_meet(
    bench: BenchFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.folder
    async with open_bench(bench.bench, state=first) as client:
        with monkeypatch.context() as other:
            other.setenv("FARM_STATE", str(tmp_path / "other state, with a comma"))
            try:
                await anyio.to_thread.run_sync(bench.up)
                async with leased(bench) as lease:
                    await put_card(lease)
                    chunks = lease.console.chunks()
                    await lease.power.on()
                    await said(chunks, HELLO)
            finally:
                await anyio.to_thread.run_sync(bench.down)
            assert bench.processes() == []
        async with client.lease(board="tiny", target=None, owner="x", reason="y") as lease:
            assert await lease.power.state() == "off"
    assert bench.state.word == "up"


async def test_a_cancelled_run_gives_its_target_back(bench: BenchFiles) -> None:
    async with opened(bench) as client:
        with anyio.CancelScope() as scope:
            async with client.lease(board=None, target="tiny-1", owner="a", reason="b") as lease:
                await lease.power.on()
                scope.cancel()
                await anyio.sleep_forever()
        async with client.lease(board=None, target="tiny-1", owner="c", reason="d") as lease:
            await lease.power.off()
    text = (bench.folder / "h1/consoles/tiny-1.log").read_text()
    assert "= lease of a (b) ended\n" in text


async def test_a_machine_in_an_ipv6_only_network_has_consoles_too(
    bench_files: BenchFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        socket.getaddrinfo("::1", 1, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror:
        pytest.skip("this machine has no IPv6")
    monkeypatch.setattr("farm.bench.host_files.ser2net_address", lambda: "::1")
    await anyio.to_thread.run_sync(bench_files.up)
    async with leased(bench_files) as lease:
        chunks = lease.console.chunks()
        await lease.power.on()
        await said(chunks, b"firmware stopped")


async def test_a_port_that_somebody_takes_meanwhile_is_replaced(
    bench_files: BenchFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay's port is taken between the look and the start: others are tried."""
    taken: list[socket.socket] = []
    take = FreePorts.take

    def take_away(ports: FreePorts) -> int:
        port = take(ports)
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", port)))
        return port

    monkeypatch.setattr(FreePorts, "take", take_away)
    try:
        await anyio.to_thread.run_sync(bench_files.up)
        assert taken
        assert bench_files.state.word == "up"
    finally:
        for each in taken:
            each.close()


async def test_what_cannot_start_says_why_and_leaves_nothing(
    bench_files: BenchFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.bench.host_files._OPTIONS", "NoSuchOption {pam}{strict}\n")
    with pytest.raises(BenchError, match=r"sshd: does not answer.*NoSuchOption"):
        await anyio.to_thread.run_sync(bench_files.up)
    assert bench_files.processes() == []
    assert bench_files.state.word == "down"


@pytest.mark.parametrize("program", ["ser2net", "sshd"])
async def test_a_program_of_the_host_that_dies_is_started_again(
    bench: BenchFiles, program: str
) -> None:
    def pids() -> list[int]:
        place = str(bench.folder)
        return [
            each.pid
            for each in own_processes()
            if each.command == program and any(place in word for word in each.argv)
        ]

    (old,) = pids()
    os.kill(old, signal.SIGKILL)
    with anyio.fail_after(60):
        while True:
            # The agent tells nobody that it has started one again: ask until all is well.
            with contextlib.suppress(BenchError):
                async with leased(bench) as lease:
                    chunks = lease.console.chunks()
                    await lease.power.on()
                    await said(chunks, b"firmware stopped")
                    await lease.power.off()
                if pids() not in ([], [old]):
                    break
            await anyio.sleep(0.05)
