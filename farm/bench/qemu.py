# SPDX-License-Identifier: Apache-2.0
"""One QEMU process, from its start to its end: console, control (QMP), and why it ended.

QEMU calls farm, not the other way round: both sockets are listened at before it starts, so
nothing is waited for by trying again, and nothing of the boot is lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from qemu.qmp import EventListener, QMPClient, QMPError

from farm.core.errors import BenchError
from farm.core.run import Process, spawn

# qemu.qmp logs what is told as a fault below.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

_STDERR_LINES = 8
_STDERR_BYTES = 64 << 10
_LINGER_S = 5.0


@dataclass(frozen=True)
class QemuEnd:
    """How a QEMU ended.

    Args:
        reason: QMP's SHUTDOWN reason, e.g. "guest-reset"; None where QEMU said none.
        status: for a person, its exit code or signal.
        stderr: the last lines that it wrote to standard error.
    """

    reason: str | None
    status: str
    stderr: tuple[str, ...]


class Qemu:
    """Runs one QEMU.

    Args:
        console, control: the socket paths that are named in its arguments.
        work: its working folder; `qemu.log` there takes its standard error.
    """

    def __init__(self, work: Path, *, console: Path, control: Path) -> None:
        self._work = work
        self._console_path = console
        self._control_path = control
        self._console: socket.socket | None = None

    async def run(
        self,
        argv: Sequence[str],
        *,
        output: Callable[[bytes], Awaitable[None]],
        started: Callable[[int], None],
        ending: Callable[[], None],
    ) -> QemuEnd:
        """Start QEMU, let the guest run, and return when it ended; cancelling kills it.

        Args:
            argv: its command line, with -S.
            output: takes what the guest's console says, in order.
            started: told QEMU's process id.
            ending: told before the process is reaped.

        Raises:
            BenchError: a socket cannot be made.
        """
        with (
            _listening(self._console_path) as console_door,
            _listening(self._control_path) as control_door,
        ):
            process = self._spawn(argv)
            exited = os.pidfd_open(process.pid)
            qmp = QMPClient("farm")
            listener = EventListener(("SHUTDOWN",))
            qmp.register_listener(listener)
            try:
                started(process.pid)
                await self._attend(exited, console_door, control_door, qmp, output)
            finally:
                # Whatever happened, no QEMU is left and its end is known.
                with anyio.CancelScope(shield=True):
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(exited, signal.SIGKILL)
                    await anyio.wait_readable(exited)
                    ending()
                    await _disconnect(qmp)
                os.close(exited)
                process.wait()
                self._hang_up()
        reasons = [_reason(event) for event in listener.history]
        return QemuEnd(reasons[-1] if reasons else None, _status(process), self._last_words())

    async def write(self, data: bytes) -> None:
        """Type `data` at the guest's console; lost where no guest runs."""
        rest = memoryview(data)
        while rest and (console := self._console) is not None:
            try:
                rest = rest[console.send(rest) :]
            except BlockingIOError:
                with contextlib.suppress(OSError, anyio.ClosedResourceError):
                    await anyio.wait_writable(console)
            except OSError:
                return

    def _spawn(self, argv: Sequence[str]) -> Process:
        with (self._work / "qemu.log").open("wb") as log:
            return spawn(
                argv,
                cwd=self._work,
                stdout=log,
                stderr=log,
                die_with_parent=True,
                new_session=True,
            )

    async def _attend(
        self,
        exited: int,
        console_door: socket.socket,
        control_door: socket.socket,
        qmp: QMPClient,
        output: Callable[[bytes], Awaitable[None]],
    ) -> None:
        console = await _accept(console_door, exited)
        control = await _accept(control_door, exited) if console else None
        if console is None or control is None:
            return
        self._console = console
        try:
            await qmp.connect(control)
            await qmp.execute("cont")
        except (QMPError, EOFError, OSError):
            # It died between two steps: what it said on standard error tells why.
            await _until_ended(exited)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_copy, console, output)
            await anyio.wait_readable(exited)
            # The kernel has the last bytes of the console; _copy ends at their end.
        await _disconnect(qmp)

    def _hang_up(self) -> None:
        console, self._console = self._console, None
        if console is not None:
            anyio.notify_closing(console)
            console.close()

    def _last_words(self) -> tuple[str, ...]:
        path = self._work / "qemu.log"
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _STDERR_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return tuple(line.strip() for line in lines if line.strip())[-_STDERR_LINES:]


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        door.bind(str(path))
        door.listen(1)
        door.setblocking(False)
    except OSError as error:
        door.close()
        raise BenchError(f"{path}: socket for QEMU: {error.strerror or error}") from error
    try:
        yield door
    finally:
        door.close()
        path.unlink(missing_ok=True)


async def _accept(door: socket.socket, exited: int) -> socket.socket | None:
    """Return QEMU's connection; None where it ended instead."""
    called = False

    async def wait(handle: socket.socket | int, is_call: bool) -> None:
        nonlocal called
        await anyio.wait_readable(handle)
        called = called or is_call
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, door, True)
        tasks.start_soon(wait, exited, False)
    if not called:
        return None
    connection, _ = door.accept()
    connection.setblocking(False)
    return connection


async def _copy(console: socket.socket, output: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        try:
            data = console.recv(65536)
        except BlockingIOError:
            await anyio.wait_readable(console)
            continue
        except OSError:
            return
        if not data:
            return
        await output(data)


async def _until_ended(exited: int) -> None:
    with anyio.move_on_after(_LINGER_S):
        await anyio.wait_readable(exited)


async def _disconnect(qmp: QMPClient) -> None:
    # EOFError is how qemu.qmp says that QEMU ended; events before it have been heard by then.
    with anyio.move_on_after(_LINGER_S), contextlib.suppress(QMPError, EOFError, OSError):
        await qmp.disconnect()


def _reason(event: Mapping[str, object]) -> str:
    data = event.get("data")
    return str(data.get("reason")) if isinstance(data, Mapping) else "not said"


def _status(process: Process) -> str:
    code = process.returncode
    if code is not None and code < 0:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}"
