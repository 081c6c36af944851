# SPDX-License-Identifier: Apache-2.0
"""A target's console in a terminal: bytes out as they come, keys in until Ctrl-]."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TextIO

import anyio
import anyio.abc
import anyio.lowlevel

from farm.bench.client import BenchClient, open_bench
from farm.bench.drivers import Console
from farm.bench.errors import BusyError
from farm.bench.running import running_bench
from farm.cli.screen import Screen
from farm.runs.leasing import owner
from farm.spec.project import Project

LEAVE = b"\x1d"
_READ_BYTES = 4096


async def talk(target: str, bench: Path | None, watch: bool) -> None:
    """Connect the terminal with a target's console until Ctrl-], or until input ends.

    Keys reach the board under a lease; where somebody else holds it, the console is only watched.

    Raises:
        UserError: there is no such target.
        BenchError: the bench is not up, or the console is lost.
    """
    running = running_bench(Project.find(), bench)
    async with (
        open_bench(running.bench, state=running.folder) as client,
        _console(client, target, watch) as (console, may_type),
    ):
        how = "Ctrl-] leaves" if may_type else "watching only, Ctrl-] leaves"
        _say(f"console of {target}; {how}")
        with _raw_terminal():
            await _connect(console, may_type)
        _say(f"left {target}; its log goes on")


@contextlib.asynccontextmanager
async def _console(
    client: BenchClient, target: str, watch: bool
) -> AsyncIterator[tuple[Console, bool]]:
    async with contextlib.AsyncExitStack() as stack:
        if not watch:
            try:
                leased = await stack.enter_async_context(
                    client.lease(board=None, target=target, owner=owner(), reason="console")
                )
            except BusyError as busy:
                _say(str(busy))
            else:
                yield leased.console, True
                return
        yield await stack.enter_async_context(client.watch_console(target)), False


async def _connect(console: Console, may_type: bool) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_show, console, tasks.cancel_scope)
        await _type(console if may_type else None)
        tasks.cancel_scope.cancel()


async def _show(console: Console, scope: anyio.CancelScope) -> None:
    screen = Screen()
    async for chunk in console.chunks():
        if chunk.data:
            os.write(sys.stdout.fileno(), screen.feed(chunk.data))
    scope.cancel()


async def _type(console: Console | None) -> None:
    """Pass keys on until Ctrl-] or the end of input.

    Where nothing can be typed, input that is no terminal may end without ending the watching.
    """
    if sys.stdin is None:
        # As `<&-` leaves it: nothing will ever be typed.
        return await _ended(console)
    while True:
        await _readable(sys.stdin)
        keys = os.read(sys.stdin.fileno(), _READ_BYTES)
        before, leave, _ = keys.partition(LEAVE)
        if before and console is not None:
            await console.write(before)
        if leave:
            return None
        if not keys:
            return await _ended(console)


async def _ended(console: Console | None) -> None:
    if console is None:
        await anyio.sleep_forever()


async def _readable(file: TextIO) -> None:
    try:
        await anyio.wait_readable(file)
    except PermissionError:
        # A file, or /dev/null: there is nothing to wait for, reading never blocks.
        await anyio.lowlevel.checkpoint()


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _say(text: str) -> None:
    print(f"[{text}]", file=sys.stderr)
