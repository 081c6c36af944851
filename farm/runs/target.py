# SPDX-License-Identifier: Apache-2.0
"""`farm flash`: an image onto a leased target's card, and the boot that proves it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from farm.bench.client import LeasedTarget
from farm.build.record import BuildRecord
from farm.core.errors import BenchError
from farm.core.progress import Reporter
from farm.flash.blocks import ImageBlocks
from farm.flash.client import FlashReport, flash
from farm.runs.boot import Drivers, booting, trouble
from farm.runs.console_log import ConsoleLog
from farm.runs.folder import RunFolder
from farm.runs.result import Run, RunResult, Timing
from farm.smoke.verdict import Expectation, Verdict

UNFINISHED = "unfinished_flash"
"""The key of a target's note that says which image is only in part on its card."""


@dataclass
class Steps:
    """What a run has done so far, filled in as it goes."""

    name: str = "prepare the target"
    flashed: FlashReport | None = None
    timings: list[Timing] = field(default_factory=list)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Name the step under way, and take its time when it has ended well."""
        self.name = name
        begin = time.monotonic()
        yield
        self.timings.append(Timing(name, time.monotonic() - begin))


async def run_on_target(
    target: LeasedTarget,
    image: Path,
    blocks: ImageBlocks,
    expectation: Expectation,
    *,
    record: BuildRecord | None,
    command: Sequence[str],
    reporter: Reporter,
    results: Path | None = None,
) -> RunResult:
    """Flash an image onto a leased target, boot it, and judge it; the target is off afterwards.

    Trouble of the bench becomes a verdict as well: infrastructure.

    Args:
        target: a leased target.
        image: the image of a card, and `blocks` what is in it.
        expectation: what the boot must show; `expectation_for` makes it.
        record: of the build, where there is one.
        command: the command that repeats the run.
        reporter: is told how far the run is.
        results: folder for the run's folder; None for the usual place.

    Raises:
        UserError: the image changed or cannot be read.
    """
    with RunFolder(results, target.name) as folder:
        steps = Steps()
        with folder.log() as log:
            verdict = await _verdict(target, image, blocks, expectation, log, steps, reporter)
        run = Run(
            image,
            record,
            target.board_name,
            target.name,
            command,
            timings=steps.timings,
            flashed=steps.flashed,
        )
        return folder.finish(run, verdict)


async def put_on_card(
    target: LeasedTarget, image: Path, blocks: ImageBlocks, steps: Steps, reporter: Reporter
) -> Drivers:
    """Switch a leased target off, flash its card, and give the card to the board.

    Returns:
        what boots it.

    Raises:
        BenchError: trouble of the bench; `steps.name` says at which step.
    """
    with steps.timed("prepare the target"):
        await target.power.off()
        device = await target.storage.to_host()
    with steps.timed("flash"):
        steps.flashed = await _flash(target, device, image, blocks, reporter)
    with steps.timed("give the card to the board"):
        await target.storage.to_board()
    steps.name = "boot"
    return Drivers(target.name, target.power, target.console, target.network, target.lost)


async def _verdict(
    target: LeasedTarget,
    image: Path,
    blocks: ImageBlocks,
    expectation: Expectation,
    log: ConsoleLog,
    steps: Steps,
    reporter: Reporter,
) -> Verdict:
    verdict: Verdict | None = None
    try:
        drivers = await put_on_card(target, image, blocks, steps, reporter)
        with steps.timed("boot"):
            async with booting(drivers, expectation, log, reporter) as boot:
                verdict = await boot.verdict()
    except BenchError as error:
        if verdict is None:
            return trouble(error, steps.name)
        # The verdict stands; but whoever leads the bench should know.
        reporter.note(f"{target.name}: after the verdict: {error.message}")
    assert verdict is not None
    return verdict


async def _flash(
    target: LeasedTarget, device: str, image: Path, blocks: ImageBlocks, reporter: Reporter
) -> FlashReport:
    """Flash in a thread that stops when this task is cancelled or the lease is lost."""
    note = dict(await target.note() or {})
    if left := note.get(UNFINISHED):
        reporter.note(f"{target.name}: an earlier flash of {left} was cut short; flashing anew")
    await target.set_note({**note, UNFINISHED: blocks.name})
    stop = threading.Event()
    report: FlashReport | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_loss, target, stop)
        try:
            report = await anyio.to_thread.run_sync(
                partial(
                    flash,
                    target.connection,
                    device,
                    image,
                    blocks,
                    reporter=reporter,
                    cancelled=stop.is_set,
                )
            )
        except Exception as error:
            failure = error
        tasks.cancel_scope.cancel()
    if target.lost.is_set():
        raise BenchError(
            f"{target.name}: the lease was lost during the flash; the card is unfinished",
            hint="`farm bench status` shows who holds the target now",
        ) from failure
    if failure is not None:
        raise failure
    assert report is not None
    note.pop(UNFINISHED, None)
    await target.set_note(note)
    return report


async def _stop_on_loss(target: LeasedTarget, stop: threading.Event) -> None:
    """Stop the flash when the lease is lost, or when this task is cancelled."""
    try:
        await target.lost.wait()
    finally:
        stop.set()
