# SPDX-License-Identifier: Apache-2.0
"""Asking TCP ports, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from farm.bench.drivers import Network
from farm.core.errors import FarmError, UserError
from farm.runs.leasing import check_ports
from farm.runs.ports import ask, ask_until
from farm.smoke.verdict import Expectation, Outcome
from farm.smoke.watch import BootWatch
from farm.spec.bench import Target

pytestmark = pytest.mark.anyio
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            await handler(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    # A socket of our own: looking up even 127.0.0.1 fails on a machine that has only IPv6 besides.
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(begin, sock=listening)
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def test_who_greets_answers() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        await reader.read(1)

    async with serving(greet) as port:
        assert await ask("127.0.0.1", port, time.monotonic) is None


async def test_who_answers_http_answers() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")

    async with serving(answer) as port:
        assert await ask("127.0.0.1", port, time.monotonic) is None


async def test_who_speaks_another_language_and_leaves_answers() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with serving(leave) as port:
        assert await ask("127.0.0.1", port, time.monotonic) is None


async def test_a_forward_whose_board_refuses_is_closed() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with serving(refuse) as port:
        assert "closed without an answer" in str(await ask("127.0.0.1", port, time.monotonic))


async def test_a_forward_whose_board_is_silent_is_closed() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as port:
        assert "no answer came" in str(await ask("127.0.0.1", port, time.monotonic))


async def test_nobody_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening
        assert await ask("127.0.0.1", int(held.getsockname()[1]), time.monotonic)


async def test_time_is_the_targets_own() -> None:
    """A target whose machine is starved has all the time of its clock, however long that is."""
    answered = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await answered.wait()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")

    ticks = 0

    def clock() -> float:
        nonlocal ticks
        ticks += 1
        if ticks == 10:
            answered.set()
        return 0.0 if ticks < 10 else 1.0

    async with serving(late) as port:
        assert await ask("127.0.0.1", port, clock) is None


async def test_silence_ends_with_the_targets_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    clock = iter(range(0, 10_000, 2))
    async with serving(silent) as port:
        assert "no answer came" in str(await ask("127.0.0.1", port, lambda: next(clock)))


class _NoWay:
    def __init__(self, error: FarmError) -> None:
        self.error = error

    async def endpoint(self, port: int) -> tuple[str, int]:
        raise self.error


@pytest.mark.parametrize("missing", [(), ("network",)])
async def test_a_port_that_there_is_no_way_to(missing: tuple[str, ...]) -> None:
    """Whatever the network says against it, it is a verdict, and never a silent pass."""
    network: Network = _NoWay(UserError("port 80 is not forwarded", hint="name it"))
    watch = BootWatch(Expectation("raspberrypi", ports=(("hello", 80),), missing=missing))
    await ask_until(watch, network, "hello", 80)
    if missing:
        assert watch.verdict is None
        assert [one.name for one in watch.progress.skipped] == ["hello:80"]
    else:
        assert watch.verdict is not None
        assert watch.verdict.outcome is Outcome.INFRASTRUCTURE
        assert watch.verdict.next_step == "name it"


_SERVES = Expectation("raspberrypi", ports=(("hello", 8080),))


def _target(**more: object) -> Target:
    return Target.model_validate(
        {
            "board": "rpi4",
            "host": "lab",
            "power": {"on": "/on", "off": "/off", "state": "/state"},
            "console": {"port": 3000},
            "storage": {"device": "/srv/card", "to_host": ["true"], "to_board": ["true"]},
            **more,
        }
    )


@pytest.mark.parametrize(
    ("network", "hint"),
    [
        ({"driver": "forwarded", "ports": {22: 2022}}, "`ports:`"),
        ({"driver": "direct"}, "address"),
        (None, "missing: .network."),
    ],
)
def test_ports_are_checked_before_the_flash(network: object, hint: str) -> None:
    with pytest.raises(UserError, match=r"8080 \(hello\)") as caught:
        check_ports("pi-1", _target(network=network), _SERVES)
    assert re.search(hint, caught.value.hint or "")


def test_ports_that_are_not_asked_need_no_way() -> None:
    check_ports("pi-1", _target(), Expectation("raspberrypi"))
    check_ports("pi-1", _target(), dataclasses.replace(_SERVES, missing=("network",)))
    there = _target(network={"driver": "direct", "address": "192.0.2.7"})
    check_ports("pi-1", there, _SERVES)
    forwarded = _target(network={"driver": "forwarded", "ports": {8080: 18080}})
    check_ports("pi-1", forwarded, _SERVES)
