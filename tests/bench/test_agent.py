# SPDX-License-Identifier: Apache-2.0
"""The agent at its socket, without SSH between: heartbeats, malformed requests, limits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import pytest

from farm.bench.daemon import RealHardware
from farm.bench.protocol import (
    GREETING,
    LEASE_DEAD_S,
    LINE_LIMIT,
    NOTE_LIMIT,
    LineSplitter,
    Message,
    decode,
    encode,
    from_text,
    to_text,
)
from farm.bench.server import Agent
from farm.bench.settings import AgentSettings, TargetSettings

# pyserial starts its reader's thread in a way that Python 3.10 deprecated.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:setDaemon")]


@dataclass
class Client:
    """Somebody at the agent's socket."""

    stream: anyio.abc.ByteStream
    lines: list[bytes] = field(default_factory=list)
    kept: list[Message] = field(default_factory=list)
    splitter: LineSplitter = field(default_factory=LineSplitter)

    async def line(self) -> bytes:
        with anyio.fail_after(30):
            while not self.lines:
                self.lines += self.splitter.feed(await self.stream.receive())
        return self.lines.pop(0)

    async def message(self, **wanted: object) -> Message:
        """The next message that has what is wanted; others are kept for later."""
        with anyio.fail_after(30):
            while True:
                for message in self.kept:
                    if all(message.get(key) == value for key, value in wanted.items()):
                        self.kept.remove(message)
                        return message
                self.kept.append(decode(await self.line()))

    async def ask(self, do: str, **fields: object) -> Message:
        await self.stream.send(encode({"id": 1, "do": do, **fields}))
        return await self.message(id=1)


class Boards(RealHardware):
    """Takes note of what was switched off; that takes until `go` is set."""

    def __init__(self) -> None:
        self.off: list[str] = []
        self.begun = anyio.Event()
        self.go = anyio.Event()

    async def abandoned(self, target: str) -> None:
        self.begun.set()
        await self.go.wait()
        self.off.append(target)

    async def switch_card(self, target: str, to: str) -> None:
        pass


@dataclass
class Running:
    """An agent of two targets whose consoles echo what is written to them."""

    socket: Path
    boards: Boards
    now: float = 0.0

    def clock(self) -> float:
        return self.now

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with await anyio.connect_unix(str(self.socket)) as stream:
            client = Client(stream)
            assert await client.line() == GREETING.encode()
            yield client


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Running]:
    target = TargetSettings("tiny", "loop://", 115200)
    settings = AgentSettings(
        name="test", folder=tmp_path, socket=tmp_path / "s", targets={"a": target, "b": target},
        virtual=None,
    )  # fmt: skip
    running = Running(settings.socket, Boards())
    async with anyio.create_task_group() as tasks:
        listening = anyio.Event()
        server = Agent(settings, running.boards, clock=running.clock)
        tasks.start_soon(server.serve, listening.set)
        await listening.wait()
        await server.all_open(30)
        yield running
        running.boards.go.set()
        tasks.cancel_scope.cancel()
    assert not settings.socket.exists()


async def test_the_socket_is_private(agent: Running) -> None:
    assert agent.socket.stat().st_mode & 0o777 == 0o600


async def test_a_lease_without_a_heartbeat_ends_and_its_channel_with_it(agent: Running) -> None:
    async with agent.client() as silent, agent.client() as next_:
        await silent.ask("lease", targets=["a"], owner="ann", reason="x")
        agent.now = LEASE_DEAD_S - 0.5
        await silent.ask("heartbeat")
        agent.now += LEASE_DEAD_S - 0.5
        assert (await silent.ask("heartbeat"))["ok"] == {}
        agent.boards.go.set()
        agent.now += LEASE_DEAD_S + 0.5
        lost = await silent.message(event="lost")
        assert (lost["target"], lost["why"]) == ("a", "no heartbeat came for 10 s")
        with pytest.raises(anyio.EndOfStream), anyio.fail_after(30):
            await silent.stream.receive()
        got = await next_.ask("lease", targets=["a"], owner="bob", reason="y", wait=True)
        assert "ok" in got


async def test_the_next_one_finds_switched_off_what_a_dead_lease_left_on(agent: Running) -> None:
    async with agent.client() as next_:
        async with agent.client() as silent:
            secret = (await silent.ask("lease", targets=["a"], owner="ann", reason="x"))["ok"][
                "secret"
            ]
            card = {"target": "a", "to": "board", "secret": secret}
            assert "ok" in await silent.ask("mux", **card)
            agent.now += LEASE_DEAD_S + 0.5
            await agent.boards.begun.wait()
            # Until then nobody has it, the dead one least of all.
            assert (await next_.ask("mux", **card))["error"]["kind"] == "lost"
        busy = await next_.ask("lease", targets=["a"], owner="bob", reason="y")
        assert busy["error"]["holder"] == "ann"
        agent.boards.go.set()
        got = await next_.ask("lease", targets=["a"], owner="bob", reason="y", wait=True)
        assert (got["ok"]["target"], agent.boards.off) == ("a", ["a"])


async def test_what_is_given_back_stays_as_it_is(agent: Running) -> None:
    agent.boards.go.set()
    async with agent.client() as client:
        await client.ask("lease", targets=["a"], owner="ann", reason="x")
        await client.ask("lease", targets=["b"], owner="ann", reason="x")
        await client.ask("release", target="a")
    async with agent.client() as next_:
        wanted = {"owner": "bob", "reason": "y", "wait": True}
        for name in ("a", "b"):
            assert "ok" in await next_.ask("lease", targets=[name], **wanted)
        assert agent.boards.off == ["b"]


async def test_one_writer_and_many_watchers(agent: Running) -> None:
    async with agent.client() as writer, agent.client() as watcher:
        await watcher.ask("watch", target="a")
        refused = await watcher.ask("write", target="a", data=to_text(b"x"))
        assert refused["error"]["kind"] == "lost"
        await writer.ask("lease", targets=["a"], owner="ann", reason="x")
        await writer.ask("watch", target="a")
        await writer.ask("write", target="a", data=to_text(b"\xff\x00 echo"))
        for client in (writer, watcher):
            heard = b""
            while b"echo" not in heard:
                heard += from_text((await client.message(event="console"))["data"])
            assert heard == b"\xff\x00 echo"


async def test_notes_are_kept_and_only_the_holder_writes_them(agent: Running) -> None:
    async with agent.client() as holder, agent.client() as other:
        await holder.ask("lease", targets=["a"], owner="ann", reason="x")
        note = {"unfinished": ["ä", 1]}
        assert "ok" in await holder.ask("set-note", target="a", note=note)
        assert (await other.ask("note", target="a"))["ok"]["note"] == note
        assert (await other.ask("set-note", target="a", note=1))["error"]["kind"] == "lost"
        big = await holder.ask("set-note", target="a", note="x" * NOTE_LIMIT)
        assert big["error"]["kind"] == "user"
        await holder.ask("set-note", target="a", note=None)
        assert (await other.ask("note", target="a"))["ok"]["note"] is None


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "no-such-thing"},
        {"do": "watch"},
        {"do": "watch", "target": "../a"},
        {"do": "lease", "targets": "a"},
        {"do": "lease", "targets": [["a"]]},
        {"do": "hello", "version": 99},
        {"do": "ready", "target": "a", "timeout": "soon"},
        {"do": "mux", "target": "a", "to": "host"},
        {"do": "mux", "target": "a", "to": "/etc"},
        {"do": ["x"]},
        {},
    ],
)
async def test_a_wrong_request_costs_one_answer(agent: Running, request_: Message) -> None:
    async with agent.client() as client:
        await client.stream.send(encode({"id": 7, **request_}))
        assert (await client.message(id=7))["error"]["message"]
        assert "ok" in await client.ask("status")


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b"\xff\xfe\n", b"{" * 1000 + b"\n"])
async def test_a_line_that_is_no_request_costs_one_answer(agent: Running, line: bytes) -> None:
    async with agent.client() as client:
        await client.stream.send(line)
        assert "error" in await client.message(id=None)
        assert "ok" in await client.ask("status")


async def test_a_line_without_an_end_ends_the_channel_only(agent: Running) -> None:
    async with agent.client() as endless, agent.client() as other:
        with contextlib.suppress(anyio.BrokenResourceError):
            await endless.stream.send(b"x" * (LINE_LIMIT + 2))
        assert "error" in await endless.message(id=None)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(30):
            await endless.stream.receive()
        assert "ok" in await other.ask("status")
