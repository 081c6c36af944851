# SPDX-License-Identifier: Apache-2.0
"""One boot of a board: power on, watch the console, ask the ports, power off."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import anyio.abc

from farm.bench.drivers import Console, ConsoleChunk, Network, Power
from farm.core.errors import BenchError
from farm.core.progress import Reporter
from farm.runs.console_log import ConsoleLog
from farm.runs.ports import ask_until, cannot_ask
from farm.smoke.verdict import Expectation, Outcome, Stage, Verdict
from farm.smoke.vigil import Vigil
from farm.smoke.watch import BootWatch

_KEPT_BYTES = 1 << 20
_DRAIN_S = 2.0
_POWER_EVERY_S = 2.0


@dataclass(frozen=True)
class Drivers:
    """What a boot needs of a board, wherever it is.

    Args:
        name: the target's, for messages.
        power: its supply.
        console: its serial console.
        network: the way to its TCP ports, or None.
        lost: set when the right to use it ends, or None where nobody can take it.
    """

    name: str
    power: Power
    console: Console
    network: Network | None = None
    lost: anyio.Event | None = None


class Boot:
    """A board that boots, and its console afterwards; made by `booting`."""

    def __init__(self, drivers: Drivers, watch: BootWatch, log: ConsoleLog) -> None:
        self.drivers = drivers
        self.watch = watch
        self._log = log
        self._decided = anyio.Event()
        self._changed = anyio.Event()
        self.complete = anyio.Event()
        self._bytes: deque[bytes] = deque()
        self._kept = 0
        self._passed = 0
        self.trouble: BenchError | None = None
        self.clock_s = watch.clock_s
        self.vigil = Vigil(watch)

    async def verdict(self) -> Verdict:
        """Wait for what comes out of the boot."""
        await self._decided.wait()
        assert self.watch.verdict is not None
        return self.watch.verdict

    async def write(self, data: bytes) -> None:
        """Type `data` at the console."""
        await self.drivers.console.write(data)

    @property
    def position(self) -> int:
        """How many bytes the console has written since power-on."""
        return self._passed + self._kept

    def written(self, since: int) -> bytes:
        """What the console wrote after `since`; of more than 1 MiB the beginning is lost."""
        return b"".join(self._bytes)[max(0, since - self._passed) :]

    async def changed(self) -> None:
        """Wait for the console's next bytes, or for the next tick of the target's clock.

        Raises:
            BenchError: the console is gone.
        """
        if self.trouble is not None:
            raise self.trouble
        await self._changed.wait()

    def take(self, data: bytes, clock_s: float, wall: float) -> None:
        """Take a chunk of the console."""
        self._log.write(data, clock_s, wall)
        self.clock_s = max(self.clock_s, clock_s)
        if data:
            if self.watch.verdict is None:
                self.watch.feed(data, clock_s, wall)
            else:
                self.vigil.feed(data, clock_s, wall)
            self._bytes.append(data)
            self._kept += len(data)
            while self._kept > _KEPT_BYTES and len(self._bytes) > 1:
                old = len(self._bytes.popleft())
                self._kept -= old
                self._passed += old
            self.wake()
        else:
            self.watch.tick(clock_s)
            self.wake()
        self.settle()

    def fail(self, error: BenchError) -> None:
        """The console or the lease is gone."""
        self.trouble = self.trouble or error
        self.watch.infrastructure(
            error.message, error.hint or "look at the bench, then run it again"
        )
        self.wake()
        self.settle()

    def settle(self) -> None:
        """Wake who waits for the boot to be complete, or for the verdict."""
        if self.watch.complete:
            self.complete.set()
        if self.watch.verdict is not None:
            self._decided.set()

    def wake(self) -> None:
        """Wake who waits for the console."""
        self._changed.set()
        self._changed = anyio.Event()


@contextlib.asynccontextmanager
async def booting(
    drivers: Drivers, expectation: Expectation, log: ConsoleLog, reporter: Reporter
) -> AsyncIterator[Boot]:
    """Boot a board whose card is in; it is powered until the block ends, and never longer.

    The console is open, and what was left in it is read, before the power comes.

    Raises:
        BenchError: the power cannot be switched, or the console cannot be opened.
    """
    failure: Exception | None = None
    try:
        await drivers.power.off()
        async with anyio.create_task_group() as tasks:
            try:
                chunks = drivers.console.chunks()
                boot = Boot(drivers, BootWatch(expectation, await _drain(chunks, log)), log)
                tasks.start_soon(_listen, boot, chunks)
                if drivers.lost is not None:
                    tasks.start_soon(_lease, boot, drivers.lost)
                log.note("power on", time.time())
                await drivers.power.on()
                tasks.start_soon(_look_after, boot, reporter)
                yield boot
            except Exception as error:
                # Raised past the task group, which would wrap it in an ExceptionGroup.
                failure = error
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await drivers.power.off()
            log.note("power off", time.time())
    if failure is not None:
        raise failure


async def _drain(chunks: AsyncIterator[ConsoleChunk], log: ConsoleLog) -> float:
    """Read what is left from before the power-on; return the target's clock."""
    clock_s = 0.0
    with anyio.move_on_after(_DRAIN_S):
        while True:
            chunk = await anext(chunks)
            clock_s = chunk.clock_s
            log.write(chunk.data, chunk.clock_s, chunk.wall)
            if not chunk.data:
                break
    return clock_s


async def _listen(boot: Boot, chunks: AsyncIterator[ConsoleChunk]) -> None:
    try:
        async for chunk in chunks:
            boot.take(chunk.data, chunk.clock_s, chunk.wall)
    except BenchError as error:
        boot.fail(error)
    else:
        boot.fail(BenchError(f"{boot.drivers.name}: the console ended"))


async def _lease(boot: Boot, lost: anyio.Event) -> None:
    await lost.wait()
    boot.fail(
        BenchError(
            f"{boot.drivers.name}: the lease was lost",
            hint="`farm bench status` shows who holds the target now",
        )
    )


async def _look_after(boot: Boot, reporter: Reporter) -> None:
    """Until the verdict: tell how far it is, look at the power, ask the ports."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_power, boot)
        tasks.start_soon(_ask_ports, boot)
        with reporter.task(f"boot {boot.drivers.name}") as task:
            stages = len(Stage) - 1
            while boot.watch.verdict is None:
                task.update(boot.watch.stage.order, stages, boot.watch.stage.value)
                with anyio.move_on_after(0.25):
                    await boot.verdict()
        tasks.cancel_scope.cancel()


async def _watch_power(boot: Boot) -> None:
    while True:
        await anyio.sleep(_POWER_EVERY_S)
        try:
            state = await boot.drivers.power.state()
        except BenchError as error:
            boot.fail(error)
            return
        if state == "off":
            boot.watch.powered_off()
            boot.settle()
        elif state.startswith("fault"):
            boot.fail(BenchError(f"{boot.drivers.name}: power: {state}"))


async def _ask_ports(boot: Boot) -> None:
    await boot.complete.wait()
    network = boot.drivers.network
    async with anyio.create_task_group() as tasks:
        for service, port in boot.watch.ports_to_ask:
            if network is None:
                cannot_ask(boot.watch, service, port, "the bench has no network to this target")
            else:
                tasks.start_soon(ask_until, boot.watch, network, service, port)
    boot.settle()


def trouble(error: BenchError, step: str) -> Verdict:
    """The verdict of a run that ended before its boot, through no fault of the image."""
    return Verdict(
        outcome=Outcome.INFRASTRUCTURE,
        stage=Stage.POWER,
        summary=f"{step}: {error.message}",
        step=step,
        next_step=error.hint or "look at the bench, then run it again",
    )
