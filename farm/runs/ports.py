# SPDX-License-Identifier: Apache-2.0
"""Asking a board's TCP ports from outside.

A connection that opens proves nothing: forwards accept it before the board is asked. So
somebody must answer: by a greeting, by an answer to a plain HTTP request, or by closing the
connection because of that request, while it had stayed open without one.
"""

from __future__ import annotations

import anyio

from farm.bench.drivers import Network
from farm.core.errors import BenchError
from farm.smoke.watch import BootWatch

_QUESTION = b"GET / HTTP/1.0\r\n\r\n"
_CONNECT_S = 5.0
_ANSWER_S = 5.0
# Longer than a refusal takes on its way through an emulated network card.
_PATIENCE_S = 3.0
_PAUSE_S = 0.5


async def ask(host: str, port: int) -> str | None:
    """Ask a TCP port once; return None where somebody answers, else what happened."""
    why = await _exchange(host, port, _QUESTION)
    if why != _CLOSED:
        return why
    # Closed without a word: by a forward whose board refused, or by a service that was asked
    # in a language not its own. The latter stays open as long as nothing is said.
    if await _exchange(host, port, b"") == _SILENT:
        return None
    return why


async def ask_until(watch: BootWatch, network: Network, service: str, port: int) -> None:
    """Ask a port until it answers or its time is over; report to the watch."""
    try:
        host, at = await network.endpoint(port)
    except BenchError as error:
        watch.port_skipped(service, port, str(error))
        return
    why: str | None = "it was not asked"
    while watch.verdict is None:
        why = await ask(host, at)
        if why is None:
            watch.port_answered(service, port)
            return
        if watch.clock_s >= watch.ports_due_s:
            watch.port_closed(service, port, why)
            return
        await anyio.sleep(_PAUSE_S)


_CLOSED = "the connection was closed without an answer"
_SILENT = "the connection opened, and no answer came"


async def _exchange(host: str, port: int, question: bytes) -> str | None:
    try:
        with anyio.fail_after(_CONNECT_S):
            stream = await anyio.connect_tcp(host, port)
    except TimeoutError:
        return f"no connection within {_CONNECT_S:g} s"
    except OSError as error:
        return str(error.__cause__ or error)
    async with stream:
        with anyio.move_on_after(_ANSWER_S if question else _PATIENCE_S):
            try:
                if question:
                    await stream.send(question)
                await stream.receive(1)
            except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                return _CLOSED
            return None
    return _SILENT
