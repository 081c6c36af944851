# SPDX-License-Identifier: Apache-2.0
"""A board that stays booted while tests use it.

The board lives in an event loop of its own thread. One task there holds everything that must be
given back (the lease, the power, a virtual board), so that each ends where it began; tests talk
to that task.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.abc
import anyio.to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from farm.core.errors import BenchError
from farm.core.progress import Reporter
from farm.flash.blocks import image_blocks
from farm.plugin.console import BoardConsole
from farm.plugin.order import Order
from farm.plugin.power import BoardPower
from farm.runs.boot import Boot, Drivers, booting, trouble
from farm.runs.console_log import ConsoleLog
from farm.runs.expect import expectation_for
from farm.runs.folder import RunFolder
from farm.runs.leasing import leased
from farm.runs.result import Run
from farm.runs.target import Steps, put_on_card
from farm.runs.throwaway import TARGET, virtual_drivers
from farm.runs.words import explain
from farm.smoke.timeline import Event
from farm.smoke.verdict import Expectation, Verdict

if TYPE_CHECKING:
    from farm.build.record import BuildRecord

Command = Literal["on", "off", "end"]


@dataclass
class _Bed:
    """What a boot needs, beside the image."""

    drivers: Drivers
    expectation: Expectation


class BoardSession:
    """A booted board; use it in a `with` block.

    Args:
        order: what to boot.
        reporter: is told how far it is.

    Raises:
        FarmError: on entering: no image, no target, or trouble of the bench.
    """

    verdict: Verdict
    console: BoardConsole

    def __init__(self, order: Order, reporter: Reporter) -> None:
        self.order = order
        self.name = order.board.name
        self.target = ""
        self.record: BuildRecord | None = None
        self.power = BoardPower(self)
        self._reporter = reporter
        self._image = Path()
        self._boot: Boot | None = None
        self._first: Verdict | None = None
        self._gone: BenchError | None = None
        self._folder: RunFolder
        self._steps = Steps()
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._orders, self._ordered = anyio.create_memory_object_stream[Command](1)
        self._answers, self._answered = anyio.create_memory_object_stream[Any](1)

    def __enter__(self) -> BoardSession:
        self._image, self.record = self.order.get_image(self._reporter)
        self._stack.callback(self._orders.close)
        self._stack.callback(self._answered.close)
        self._stack.callback(self._ordered.close)
        self._stack.callback(self._answers.close)
        try:
            self._portal = self._stack.enter_context(start_blocking_portal())
            self.console = BoardConsole(self._portal, lambda: self.boot)
            self._portal.start_task(self._live)
        except BaseException:
            self._stack.__exit__(*sys.exc_info())
            raise
        self._stack.callback(self._ask, "end")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def timeline(self) -> tuple[Event, ...]:
        """The events of the last boot."""
        return self.verdict.timeline

    @property
    def boot(self) -> Boot:
        """The boot that is under way.

        Raises:
            BenchError: the board is off.
        """
        if self._boot is None:
            raise BenchError(f"{self.target}: the board is off", hint="power.on() boots it")
        return self._boot

    def endpoint(self, port: int) -> tuple[str, int]:
        """Return address and port at which this machine reaches the board's TCP `port`.

        Raises:
            BenchError: there is no network to the board, or the port is not forwarded.
        """
        network = self.boot.drivers.network
        if network is None:
            raise BenchError(f"{self.target}: the bench has no network to this target")
        assert self._portal is not None
        return self._portal.call(network.endpoint, port)

    def problem(self) -> str | None:
        """Say what is wrong with the board, if anything is: as text of several lines."""
        if not self.verdict.passed:
            return explain(self.verdict)
        boot = self._boot
        if boot is None:
            return None
        if boot.trouble is not None:
            return f"{boot.trouble.message} (trouble of the bench)"
        return "\n".join(boot.vigil.problems) or None

    def power_state(self) -> str:
        """The supply's state."""
        assert self._portal is not None
        return self._portal.call(self.boot.drivers.power.state) if self._boot else "off"

    def power_off(self) -> None:
        """Switch off."""
        if self._boot is not None:
            self._ask("off")

    def power_on(self) -> Verdict:
        """Boot again, where the board is off; return the verdict."""
        if self._boot is None:
            self._ask("on")
        return self.verdict

    def _ask(self, command: Command) -> None:
        assert self._portal is not None
        answer = self._portal.call(self._exchange, command)
        if isinstance(answer, BaseException):
            raise answer

    async def _exchange(self, command: Command) -> object:
        try:
            await self._orders.send(command)
            return await self._answered.receive()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            if command == "end":
                return None
            return self._gone or BenchError(f"{self.target}: the board is gone")

    async def _live(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the board from the lease to the power-off, and do what is asked."""
        what = self.order.target or self.name
        with RunFolder(self.order.results, what) as folder, self._ordered, self._answers:
            self._folder = folder
            try:
                with folder.log() as log:
                    async with self._bed() as bed:
                        await self._boots(bed, log, task_status)
            except BenchError as error:
                self._gone = error
                if self._first is None:
                    self._first = trouble(error, self._steps.name)
                    folder.finish(self._run, self._first)
                    raise
                self._reporter.note(f"{self.target}: {error.message}")
            assert self._first is not None
            folder.finish(self._run, self._first)
            with contextlib.suppress(anyio.BrokenResourceError):
                await self._answers.send(None)

    async def _boots(
        self, bed: _Bed, log: ConsoleLog, task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        """Boot once, and again whenever that is asked, until the end is."""
        command: Command = "on"
        while command != "end":
            if command == "on":
                async with booting(bed.drivers, bed.expectation, log, self._reporter) as boot:
                    self.verdict = await boot.verdict()
                    self._boot = boot
                    if self._first is None:
                        self._first = self.verdict
                        task_status.started()
                    else:
                        await self._answers.send(None)
                    command = await self._ordered.receive()
                    self._boot = None
            else:
                await self._answers.send(None)
                command = await self._ordered.receive()

    @contextlib.asynccontextmanager
    async def _bed(self) -> AsyncIterator[_Bed]:
        order, record = self.order, self.record
        if order.throwaway:
            self.target = TARGET
            lacking = order.board.stand_in.missing if order.board.stand_in else ()
            expectation = expectation_for(record, order.board, missing=lacking, limits=order.limits)
            scratch = self._folder.scratch
            async with virtual_drivers(self._image, order.board, expectation, scratch) as drivers:
                self._steps.name = "boot"
                yield _Bed(drivers, expectation)
            return
        async with leased(
            order.project, order.board, target=order.target, bench_file=order.bench, reason="pytest"
        ) as lease:
            self.target = lease.target.name
            expectation = lease.expectation(record, order.limits)
            blocks = await anyio.to_thread.run_sync(image_blocks, self._image)
            drivers = await put_on_card(
                lease.target, self._image, blocks, self._steps, self._reporter
            )
            yield _Bed(drivers, expectation)

    @property
    def _run(self) -> Run:
        return Run(
            self._image,
            self.record,
            self.name,
            self.target,
            self.order.command,
            timings=self._steps.timings,
            flashed=self._steps.flashed,
        )
