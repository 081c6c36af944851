# SPDX-License-Identifier: Apache-2.0
"""Asking TCP ports, against real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.abc
import pytest

from farm.runs.ports import ask

pytestmark = pytest.mark.anyio
Handler = Callable[[anyio.abc.SocketStream], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    async def careful(stream: anyio.abc.SocketStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            async with stream:
                await handler(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, careful)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def test_who_greets_answers() -> None:
    async def greet(stream: anyio.abc.SocketStream) -> None:
        await stream.send(b"SSH-2.0-x\r\n")
        await stream.receive()

    async with serving(greet) as port:
        assert await ask("127.0.0.1", port) is None


async def test_who_answers_http_answers() -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.0 200 OK\r\n\r\n")

    async with serving(answer) as port:
        assert await ask("127.0.0.1", port) is None


async def test_who_speaks_another_language_and_leaves_answers() -> None:
    async def leave(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()

    async with serving(leave) as port:
        assert await ask("127.0.0.1", port) is None


async def test_a_forward_whose_board_refuses_is_closed() -> None:
    async def refuse(stream: anyio.abc.SocketStream) -> None:
        pass

    async with serving(refuse) as port:
        assert "closed without an answer" in str(await ask("127.0.0.1", port))


async def test_a_forward_whose_board_is_silent_is_closed() -> None:
    async def silent(stream: anyio.abc.SocketStream) -> None:
        await anyio.sleep_forever()

    async with serving(silent) as port:
        assert "no answer came" in str(await ask("127.0.0.1", port))


async def test_nobody_there() -> None:
    async def nobody(stream: anyio.abc.SocketStream) -> None:
        pass

    async with serving(nobody) as port:
        pass
    assert await ask("127.0.0.1", port)
