# SPDX-License-Identifier: Apache-2.0
"""The agent as a process: in the background, once a host, ended by a signal. Pure.

`agent.lock` in the agent's folder is locked as long as the process lives, however it ends, and
says its process id. The log is `agent.log`, in bounded files.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import logging.handlers
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import anyio.abc

from farm.bench.server import Agent, Hardware
from farm.bench.settings import AgentSettings, read_settings
from farm.core.deadline import Deadline
from farm.core.errors import BenchError, FarmError

_log = logging.getLogger(__name__)
_START_S = 30.0
_OPEN_S = 10.0
_LOG_BYTES = 2 << 20


class RealHardware:
    """The part of a host whose boards are real: the agent switches nothing itself."""

    def clock_s(self, target: str) -> float:
        """A real board's time goes as everybody's."""
        return time.monotonic()

    def power(self, target: str) -> str | None:
        """Unknown: the client's own driver asks the relay."""
        return None

    def tell_changes(self, changed: Callable[[str, str], None]) -> None:
        """None is seen here."""

    def complaint(self) -> str:
        """Nothing of this host's is run here."""
        return ""

    def guard(self, allowed: Callable[[str, str], bool]) -> None:
        """Nothing here switches."""

    async def abandoned(self, target: str) -> None:
        """Its relay is not the agent's."""

    async def switch_card(self, target: str, to: str) -> None:
        """Refused: a real mux has a command of its own."""
        raise BenchError(f"{target}: its card is not switched by the agent")


def start(settings_file: Path) -> None:
    """Run the agent in the background; return when clients can come and consoles are open.

    Raises:
        BenchError: it did not come up; with its last words.
    """
    settings = read_settings(settings_file)
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        _become_daemon(settings)
        code = _serve_and_tell(settings_file, tell)
        os._exit(code)
    os.close(tell)
    words = _listen(told, Deadline.after(_START_S))
    if words != "ready":
        raise BenchError(
            f"{settings.name}: the agent did not start: {words or 'no word from it in time'}",
            hint=f"its log is {settings.folder / 'agent.log'}",
        )


def serve(settings_file: Path, *, ready: Callable[[], None]) -> None:
    """Run the agent here until SIGTERM or SIGINT; `ready` is called when all is up.

    Raises:
        BenchError: another one runs, or something cannot be started.
        UserError: the settings are malformed.
    """
    settings = read_settings(settings_file)
    with _only_one(settings):
        anyio.run(_serve, settings, ready)


async def _serve(settings: AgentSettings, ready: Callable[[], None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_run, settings, ready, tasks)
                async for number in signals:
                    _log.info("ends by %s", number.name)
                    tasks.cancel_scope.cancel()
                    break
        except ExceptionGroup as failures:
            # What stopped it, without the nest of the tasks that it passed.
            raise _first(failures) from failures


async def _run(
    settings: AgentSettings, ready: Callable[[], None], tasks: anyio.abc.TaskGroup
) -> None:
    async with _hardware(settings) as hardware:
        agent = Agent(settings, hardware)
        listening = anyio.Event()
        async with anyio.create_task_group() as inner:
            inner.start_soon(agent.serve, listening.set)
            await listening.wait()
            if settings.virtual is not None:
                try:
                    await agent.all_open(_OPEN_S)
                except ExceptionGroup as failures:
                    raise BenchError(f"{_first(failures)}{hardware.complaint()}") from failures
            _log.info("%s: ready", settings.name)
            ready()


@contextlib.asynccontextmanager
async def _hardware(settings: AgentSettings) -> AsyncIterator[Hardware]:
    if settings.virtual is None:
        yield RealHardware()
        return
    # Only an installed farm has this part; an agent on a host of real boards never loads it.
    from farm.bench.virtual_host import VirtualHost

    async with VirtualHost(settings) as host:
        yield host


@contextlib.contextmanager
def _only_one(settings: AgentSettings) -> Iterator[None]:
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.folder / "agent.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"{settings.name}: an agent runs already") from None
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _become_daemon(settings: AgentSettings) -> None:
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDWR)
    # What Python or a library prints beside the log is kept too.
    beside = os.open(
        settings.folder / "agent.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
    )
    for stream, handle in ((0, nothing), (1, beside), (2, beside)):
        os.dup2(handle, stream)
    os.close(nothing)
    os.close(beside)
    handler = logging.handlers.RotatingFileHandler(
        settings.folder / "agent.log", maxBytes=_LOG_BYTES, backupCount=2
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _serve_and_tell(settings_file: Path, tell: int) -> int:
    def say(words: str) -> None:
        with contextlib.suppress(OSError):
            os.write(tell, words.encode())
        os.close(tell)

    told = False

    def ready() -> None:
        nonlocal told
        told = True
        say("ready")

    try:
        serve(settings_file, ready=ready)
    except BaseException as error:
        if isinstance(error, FarmError):
            _log.error("the agent ends: %s", error)
        else:
            _log.exception("the agent ends")
        if not told:
            say(str(error) or type(error).__name__)
        return 1
    finally:
        sys.stdout.flush()
    return 0


def _listen(told: int, deadline: Deadline) -> str:
    words = b""
    try:
        while select.select([told], [], [], deadline.left_s)[0]:
            data = os.read(told, 4096)
            words += data
            if not data:
                break
    finally:
        os.close(told)
    return words.decode(errors="replace")


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
