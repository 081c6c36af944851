# SPDX-License-Identifier: Apache-2.0
"""The relay at its port: clients that misbehave cost themselves only."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from farm.bench.host_drivers import Forwards, HttpPower
from farm.bench.host_files import FreePorts
from farm.bench.relay import HttpRelay
from farm.core.errors import BenchError
from farm.spec import bench as spec

pytestmark = pytest.mark.anyio
TOKEN = "s3"


def allowed(target: str, secret: str) -> bool:
    return (target, secret) == ("a", TOKEN)


@dataclass
class Outlet:
    """An outlet whose switching takes until `go` is set."""

    go: anyio.Event = field(default_factory=anyio.Event)
    begun: anyio.Event = field(default_factory=anyio.Event)
    word: str = "off"

    async def on(self) -> None:
        self.begun.set()
        await self.go.wait()
        self.word = "on"

    async def off(self) -> None:
        self.word = "off"

    def state(self) -> str:
        return self.word


@dataclass
class Running:
    """A relay of one outlet, `a`."""

    outlet: Outlet
    port: int

    async def call(self) -> anyio.abc.SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)


@pytest.fixture
async def relay() -> AsyncIterator[Running]:
    outlet, port = Outlet(), FreePorts(11).take()
    async with anyio.create_task_group() as tasks:
        await tasks.start(HttpRelay({"a": outlet}, port=port, allowed=allowed).serve)
        yield Running(outlet, port)
        tasks.cancel_scope.cancel()


def request(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


async def answer(stream: anyio.abc.SocketStream) -> bytes:
    said = b""
    with anyio.fail_after(30):
        while not said.endswith(b"\n") or b"\r\n\r\n" not in said:
            said += await stream.receive()
    return said


async def works(relay: Running) -> None:
    async with await relay.call() as stream:
        await stream.send(request("GET", "/a/state"))
        assert b" 200 " in await answer(stream)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\0garbage\r\n\r\n", request("GET", "/a/state")])
async def test_a_reset_while_it_is_answered_ends_nothing_else(
    relay: Running, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    """The client is gone by the time that the relay says what was wrong with its request."""

    async def gone(stream: object, data: bytes) -> None:
        raise anyio.BrokenResourceError

    with monkeypatch.context() as broken:
        broken.setattr("anyio._backends._asyncio.SocketStream.send", gone)
        with socket.create_connection(("127.0.0.1", relay.port)) as raw:
            raw.sendall(garbage)
            raw.setblocking(False)
            await anyio.wait_readable(raw)
            assert raw.recv(1) == b""
    await works(relay)


async def test_real_resets_end_nothing_else(relay: Running) -> None:
    for garbage in (b"garbage\r\n\r\n" * 50, b"\0" * 20_000, b"GET / HTTP/1.1\r\nHost"):
        for _ in range(20):
            raw = socket.create_connection(("127.0.0.1", relay.port))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                raw.sendall(garbage)
            raw.close()
            await anyio.lowlevel.checkpoint()
    await works(relay)


async def test_a_mistake_of_its_own_ends_one_connection(
    relay: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(relay.outlet, "state", lambda: 1 / 0)
        async with await relay.call() as stream:
            await stream.send(request("GET", "/a/state"))
            with pytest.raises(anyio.EndOfStream), anyio.fail_after(30):
                await stream.receive()
    assert "ZeroDivisionError" in caplog.text
    await works(relay)


async def test_switching_is_not_cut_by_the_limit_of_a_silent_client(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.bench.relay._REQUEST_S", 0.1)
    async with await relay.call() as busy, await relay.call() as silent:
        await busy.send(request("POST", "/a/on"))
        await relay.outlet.begun.wait()
        with pytest.raises(anyio.EndOfStream), anyio.fail_after(30):
            # The silent one is hung up on after the limit: it is over for the busy one as well.
            await silent.receive()
        relay.outlet.go.set()
        assert (await answer(busy)).endswith(b"on\n")


async def test_switching_is_finished_when_the_relay_ends() -> None:
    outlet, port = Outlet(), FreePorts(12).take()
    async with anyio.create_task_group() as tasks:
        await tasks.start(HttpRelay({"a": outlet}, port=port, allowed=allowed).serve)
        async with await Running(outlet, port).call() as stream:
            await stream.send(request("POST", "/a/on"))
            await outlet.begun.wait()
        tasks.cancel_scope.cancel()
        outlet.go.set()
    assert outlet.word == "on"


class _Plain:
    """Forwards of a bench host that is this machine."""

    async def port(self, address: str, port: int) -> int:
        return port


async def test_the_state_is_asked_once_more_where_the_relay_hangs_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = 0

    async def serve(stream: anyio.abc.SocketStream) -> None:
        nonlocal calls
        async with stream:
            calls += 1
            await stream.receive()
            if calls == 2:
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\non\n")

    async def nothing() -> None:
        pass

    port = FreePorts(13).take()
    settings = spec.HttpPower(port=port, on="/on", off="/off", state="/state")
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        power = HttpPower(
            "h: a",
            settings,
            cast(Forwards, _Plain()),
            before_on=nothing,
            check=lambda: None,
            secret="",
        )
        assert await power.state() == "on"
        assert (calls, "asked once more" in caplog.text) == (2, True)
        with pytest.raises(BenchError, match="power off: the relay does not answer"):
            await power.off()
        assert calls == 3
        await power.close()
        tasks.cancel_scope.cancel()
