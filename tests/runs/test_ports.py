# SPDX-License-Identifier: Apache-2.0
"""Asking TCP ports, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from farm.runs.ports import ask

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
        assert await ask("127.0.0.1", port) is None


async def test_who_answers_http_answers() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")

    async with serving(answer) as port:
        assert await ask("127.0.0.1", port) is None


async def test_who_speaks_another_language_and_leaves_answers() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with serving(leave) as port:
        assert await ask("127.0.0.1", port) is None


async def test_a_forward_whose_board_refuses_is_closed() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with serving(refuse) as port:
        assert "closed without an answer" in str(await ask("127.0.0.1", port))


async def test_a_forward_whose_board_is_silent_is_closed() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as port:
        assert "no answer came" in str(await ask("127.0.0.1", port))


async def test_nobody_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening
        assert await ask("127.0.0.1", int(held.getsockname()[1]))
