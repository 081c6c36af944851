# SPDX-License-Identifier: Apache-2.0
"""Asking a board's TCP ports from outside.

A connection that opens proves nothing: forwards accept it before the board is asked. So
somebody must answer: by a greeting, by an answer to a plain HTTP request, or by closing the
connection because of that request, while it had stayed open without one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.abc

from farm.bench.drivers import Network
from farm.core.errors import FarmError
from farm.smoke.watch import BootWatch

Clock = Callable[[], float]
"""The target's own clock, in seconds: a starved machine must not make a service look slow."""

_QUESTION = b"GET / HTTP/1.0\r\n\r\n"
_CONNECT_S = 5.0
_ANSWER_S = 5.0
# Longer than a refusal takes on its way through an emulated network card.
_PATIENCE_S = 3.0
_PAUSE_S = 0.5
_LOOK_S = 0.1

_T = TypeVar("_T")


async def ask(host: str, port: int, clock: Clock) -> str | None:
    """Ask a TCP port once; return None where somebody answers, else what happened."""
    why = await _exchange(host, port, _QUESTION, clock)
    if why != _CLOSED:
        return why
    # Closed without a word: by a forward whose board refused, or by a service that was asked
    # in a language not its own. The latter stays open as long as nothing is said.
    if await _exchange(host, port, b"", clock) == _SILENT:
        return None
    return why


async def ask_until(watch: BootWatch, network: Network, service: str, port: int) -> None:
    """Ask a port until it answers or its time is over; report to the watch."""
    try:
        host, at = await network.endpoint(port)
    except FarmError as error:
        cannot_ask(watch, service, port, error.message, error.hint)
        return
    why: str | None = "it was not asked"
    while watch.verdict is None:
        why = await ask(host, at, lambda: watch.clock_s)
        if why is None:
            watch.port_answered(service, port)
            return
        if watch.clock_s >= watch.ports_due_s:
            watch.port_closed(service, port, why)
            return
        await anyio.sleep(_PAUSE_S)


def cannot_ask(
    watch: BootWatch, service: str, port: int, why: str, hint: str | None = None
) -> None:
    """Report a port that there is no way to: trouble of the bench, unless it has no network."""
    if "network" in watch.expectation.missing:
        watch.port_skipped(service, port, why)
    else:
        watch.infrastructure(
            f"port {port} of {service} cannot be asked: {why}",
            hint or "say `missing: [network]` of a target that has none",
        )


_CLOSED = "the connection was closed without an answer"
_SILENT = "the connection opened, and no answer came"


async def _exchange(host: str, port: int, question: bytes, clock: Clock) -> str | None:
    stream = await _within(_CONNECT_S, clock, lambda: _connect(host, port))
    if stream is None:
        return f"no connection within {_CONNECT_S:g} s"
    if isinstance(stream, str):
        return stream
    async with stream:
        limit_s = _ANSWER_S if question else _PATIENCE_S
        answered = await _within(limit_s, clock, lambda: _answers(stream, question))
    return _SILENT if answered is None else None if answered else _CLOSED


async def _connect(host: str, port: int) -> anyio.abc.SocketStream | str:
    try:
        return await anyio.connect_tcp(host, port)
    except OSError as error:
        return str(error.__cause__ or error)


async def _answers(stream: anyio.abc.SocketStream, question: bytes) -> bool:
    """Whether an answer comes before the connection is closed."""
    try:
        if question:
            await stream.send(question)
        await stream.receive(1)
    except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
        return False
    return True


async def _within(seconds: float, clock: Clock, work: Callable[[], Awaitable[_T]]) -> _T | None:
    """Return what comes of `work`, or None where it is not done after so long on the clock."""
    found: list[_T] = []

    async def do() -> None:
        found.append(await work())
        tasks.cancel_scope.cancel()

    end = clock() + seconds
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(do)
        while clock() < end:  # noqa: ASYNC110  the clock is another machine's
            await anyio.sleep(_LOOK_S)
        tasks.cancel_scope.cancel()
    return found[0] if found else None
