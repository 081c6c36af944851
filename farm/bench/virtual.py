# SPDX-License-Identifier: Apache-2.0
"""A virtual board: its firmware reads the card, and QEMU runs what the firmware found there.

Power on → firmware → kernel. A reset by the guest goes back to the firmware, which reads the
card anew, in a new QEMU; a poweroff by the guest leaves the board halted and still powered.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType

import anyio
import anyio.abc
import anyio.to_thread

from farm.bench.drivers import ConsoleChunk
from farm.bench.qemu import Qemu, QemuEnd
from farm.bench.qemu_arguments import MachineFiles, qemu_argv, stand_in_of
from farm.bench.serial_line import SerialLine
from farm.bench.stream import ConsoleStream
from farm.bench.target_clock import TargetClock
from farm.core.errors import BenchError, FarmError
from farm.core.places import socket_dir
from farm.firmware.boot import BootOutcome, BootPlan, boot_card
from farm.spec.board import Board

_log = logging.getLogger(__name__)

_REBOOT = "guest-reset"
_HALT = ("guest-shutdown", "guest-panic")


class VirtualBoard:
    """One virtual board; use it in an `async with` block, which ends with the power off.

    Args:
        board: a board with a stand-in.
        card: its card, a raw image; the board writes to it.
        work: a folder of its own, for what is handed to QEMU.
        forwards: TCP port of the board → port of this machine's loopback.
        tty: where a symbolic link to the serial plug is made, for ser2net; none if None.
        sockets: a short folder of its own for QEMU's sockets; None for one of `socket_dir`.

    Raises:
        UserError: the board has no stand-in.
        BenchError: a forwarded port is in use; when the block begins.
    """

    def __init__(
        self,
        board: Board,
        card: Path,
        work: Path,
        *,
        forwards: Mapping[int, int],
        tty: Path | None = None,
        sockets: Path | None = None,
    ) -> None:
        self.board = board
        self.card = card
        stand_in_of(board)
        self._work = work
        self._forwards = dict(forwards)
        self._tty = tty
        self._sockets = sockets
        self._clock = TargetClock()
        self._streams: weakref.WeakSet[ConsoleStream] = weakref.WeakSet()
        self._line: SerialLine | None = None
        self._qemu: Qemu | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._stack = contextlib.AsyncExitStack()
        self._life: anyio.CancelScope | None = None
        self._over = anyio.Event()
        self._fault: str | None = None
        self.phase = "off"
        """off, firmware, kernel, halted, stopped (by the firmware) or fault; for a person."""
        self.phase_changed: Callable[[], None] = lambda: None
        """Called in the event loop after the phase has changed."""

    async def __aenter__(self) -> VirtualBoard:
        self._work.mkdir(parents=True, exist_ok=True)
        sockets = self._sockets = self._sockets or socket_dir(self._work)
        sockets.mkdir(mode=0o700, exist_ok=True)
        self._qemu = Qemu(self._work, console=sockets / "console", control=sockets / "control")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(_remove_folder, sockets)
            for port in self._forwards.values():
                stack.callback(_reserve(port, self.board.name).close)
            if self._tty is not None:
                self._line = SerialLine(self._tty)
                stack.callback(self._line.close)
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            if self._line is not None:
                self._tasks.start_soon(self._take_typed, self._line)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._tasks is not None
        try:
            with anyio.CancelScope(shield=True):
                await self.power_off()
        finally:
            self._tasks.cancel_scope.cancel()
            # Without the block's own error, which the task group would wrap.
            await self._stack.__aexit__(None, None, None)

    async def power_on(self) -> None:
        """Switch on; does nothing to a board that is on. What follows is on the console."""
        assert self._tasks is not None, "use it in an `async with` block"
        if self._life is not None:
            return
        self._fault = None
        self._over = anyio.Event()
        self._life = anyio.CancelScope()
        self._enter("firmware")
        self._tasks.start_soon(self._live, self._life, self._over)

    async def power_off(self) -> None:
        """Switch off, as by pulling the plug; no QEMU is left when it returns."""
        if self._life is not None:
            self._life.cancel()
            await self._over.wait()
            self._life = None
        self._fault = None
        self._enter("off")

    @property
    def state(self) -> str:
        """What a relay would say: "on", "off", or "fault: " and what is wrong."""
        if self._fault is not None:
            return f"fault: {self._fault}"
        return "off" if self._life is None else "on"

    @property
    def clock_s(self) -> float:
        """The board's own clock, in seconds; only differences mean something."""
        return self._clock.now_s()

    def chunks(self) -> AsyncIterator[ConsoleChunk]:
        """What the console says from this call on, with ticks of the board's clock.

        It ends in a BenchError when QEMU fails.
        """
        stream = ConsoleStream(self.board.name, self._tick)
        self._streams.add(stream)
        if self._fault is not None:
            stream.fail(self._fault_error())
        return stream

    async def write(self, data: bytes) -> None:
        """Type `data` at the console; lost where no kernel runs."""
        if self._qemu is not None:
            await self._qemu.write(data)

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self.phase_changed()

    def _tick(self) -> ConsoleChunk:
        return ConsoleChunk(b"", self.clock_s, time.time())

    async def _say(self, data: bytes) -> None:
        chunk = ConsoleChunk(data, self.clock_s, time.time())
        for stream in self._streams:
            stream.feed(chunk)
        if self._line is not None:
            await self._line.send(data)

    async def _take_typed(self, line: SerialLine) -> None:
        while True:
            await self.write(await line.receive())

    async def _live(self, life: anyio.CancelScope, over: anyio.Event) -> None:
        try:
            with life:
                await self._boot_again_and_again()
        except (FarmError, OSError) as error:
            self._fail(str(error))
        except Exception as error:
            # A mistake of farm's own takes this board down, not those beside it.
            _log.exception("%s: virtual board", self.board.name)
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            over.set()

    async def _boot_again_and_again(self) -> None:
        while True:
            self._enter("firmware")
            outcome = await self._firmware()
            for line in outcome.log:
                await self._say(line.encode(errors="replace") + b"\r\n")
            if outcome.plan is None:
                self._enter("stopped")
                break
            argv = await anyio.to_thread.run_sync(self._prepare, outcome.plan)
            self._enter("kernel")
            end = await self._run(argv)
            if end.reason in _HALT:
                self._enter("halted")
                break
            if end.reason != _REBOOT:
                self._fail(_died(end))
                break
        # Powered, and nothing runs: until the power goes.
        await anyio.sleep_forever()

    async def _firmware(self) -> BootOutcome:
        return await anyio.to_thread.run_sync(
            boot_card, self.board, self.card, abandon_on_cancel=True
        )

    async def _run(self, argv: tuple[str, ...]) -> QemuEnd:
        assert self._qemu is not None
        return await self._qemu.run(
            argv, output=self._say, started=self._clock.started, ending=self._clock.ended
        )

    def _prepare(self, plan: BootPlan) -> tuple[str, ...]:
        """Put what the firmware found where QEMU reads it."""
        device_tree = plan.device_tree
        sockets = self._sockets
        assert sockets is not None
        files = MachineFiles(
            card=self.card.absolute(),
            kernel=self._put("kernel", plan.kernel),
            initrd=None if plan.initrd is None else self._put("initrd", plan.initrd),
            device_tree=None if device_tree is None else self._put("board.dtb", device_tree),
            console=sockets / "console",
            control=sockets / "control",
        )
        return qemu_argv(self.board, files, cmdline=plan.cmdline, forwards=self._forwards)

    def _put(self, name: str, data: bytes) -> Path:
        path = self._work.absolute() / name
        path.write_bytes(data)
        return path

    def _fail(self, what: str) -> None:
        self._fault = what
        self._enter("fault")
        for stream in self._streams:
            stream.fail(self._fault_error())

    def _fault_error(self) -> BenchError:
        return BenchError(
            f"{self.board.name}: the virtual board failed: {self._fault}",
            hint=f"switch it off and on again; QEMU's own words are in {self._work / 'qemu.log'}",
        )


def _reserve(port: int, board: str) -> socket.socket:
    """Hold a port that QEMU will listen at, from now on and between two of its starts.

    Bound but not listened at: a socket that may reuse the address, as QEMU's does, can still
    listen there (socket(7)); whoever looks for a free port is not given it.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
    except OSError as error:
        held.close()
        raise BenchError(
            f"{board}: forwarded port {port}: {error.strerror or error}",
            hint="try again: other ports are chosen then",
        ) from error
    return held


def _died(end: QemuEnd) -> str:
    said = "; ".join(end.stderr) or "without a word on standard error"
    reason = f", reason {end.reason}" if end.reason else ""
    return f"QEMU ended ({end.status}{reason}): {said}"


def _remove_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
