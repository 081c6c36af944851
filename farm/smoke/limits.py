# SPDX-License-Identifier: Apache-2.0
"""What it means when nothing comes any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.smoke.finding import Finding
from farm.smoke.verdict import Outcome, Stage

if TYPE_CHECKING:
    from farm.smoke.watch import BootWatch


def overdue(watch: BootWatch) -> Finding | None:
    """Return what it means if a limit has passed, else None."""
    limits = watch.expectation.limits
    progress = watch.progress
    if progress.complete_at_s is not None:
        due_s = progress.complete_at_s + limits.settle_s + limits.alive_s
        if progress.settled or watch.clock_s <= due_s:
            return None
        return _blame_console(watch) or _frozen(watch)
    if progress.stage is not None:
        if watch.clock_s - progress.last_at_s <= limits.step_s:
            return None
        return _blame_console(watch) or _step_hangs(watch)
    if watch.handed_over_s is None and watch.stage is not Stage.KERNEL:
        if watch.clock_s - watch.started_s <= limits.firmware_s:
            return None
        return _blame_console(watch) or _no_kernel(watch)
    since = watch.handed_over_s
    if since is None:
        since = watch.started_s + watch.stage_at_s(Stage.KERNEL)
    if watch.clock_s - since <= limits.kernel_s:
        return None
    return _blame_console(watch) or _kernel_hangs(watch)


def _blame_console(watch: BootWatch) -> Finding | None:
    """The bench's fault, where a damaged console explains what is missing."""
    if watch.garbled:
        return Finding(
            Outcome.INFRASTRUCTURE,
            "the console is garbled, so that nothing can be said of the image",
            "check the serial line: speed, ground, cable, the board's power (undervoltage "
            "moves a Raspberry Pi's baud rate)",
        )
    lines = watch.progress.lines
    if lines.boot is None and lines.stray_lines:
        return Finding(
            Outcome.INFRASTRUCTURE,
            "timeline lines came, but not the first one, so that nobody knows whose they are",
            "check the serial line (cable, speed, power); then run it again",
        )
    if lines.doubt is not None:
        return Finding(
            Outcome.INFRASTRUCTURE,
            f"the boot's end is unknown, since {lines.doubt}",
            "check the serial line (cable, speed, power), and that nothing in the image writes "
            "lines like the timeline's; then run it again",
        )
    if lines.corrupt_since_event:
        return Finding(
            Outcome.INFRASTRUCTURE,
            "the last timeline lines arrived damaged, so that the boot's end is unknown",
            "check the serial line (cable, speed, power); then run it again",
        )
    return None


def _no_kernel(watch: BootWatch) -> Finding:
    limit = f"{watch.expectation.limits.firmware_s:g} s"
    if watch.silent:
        return Finding(
            Outcome.NO_OUTPUT,
            f"the console stayed silent for {limit} after power-on: not even the firmware spoke",
            "is the board powered, is its console connected, is the card in? Boot an image that "
            "is known to be good: if that is silent too, it is the bench",
        )
    if watch.stage is Stage.POWER:
        return Finding(
            Outcome.NO_OUTPUT,
            f"the console showed neither firmware nor kernel within {limit}",
            "is this the right board's console, at the right speed?",
        )
    return Finding(
        Outcome.FIRMWARE,
        f"the firmware began, but did not hand over to a kernel within {limit}; "
        f"its last line: {watch.last_line}",
        "`farm card inspect IMAGE --board BOARD` shows what the firmware finds on this image",
    )


def _kernel_hangs(watch: BootWatch) -> Finding:
    limit = f"{watch.expectation.limits.kernel_s:g} s"
    if watch.banners > 1:
        return Finding(
            Outcome.BOOT_LOOP,
            f"the kernel began {watch.banners} times and never reached init",
            "read the last lines before it began again; `panic=` and watchdogs restart a board",
        )
    if watch.stage is not Stage.KERNEL:
        return Finding(
            Outcome.NO_OUTPUT,
            f"the firmware handed over to the kernel, and for {limit} no line of it came",
            "does the command line name this board's console (`console=`), and does it leave the "
            "kernel its voice (no `quiet`)? Is the device tree this board's? `farm card inspect` "
            "shows both; `earlycon` makes a kernel speak earlier",
        )
    return Finding(
        Outcome.HANG,
        f"the kernel began, but init did not within {limit}; the last line: {watch.last_line}",
        "the last lines name the driver or step where the kernel stands; if it is waiting for "
        "an initramfs or a disk, `farm card inspect` shows what it was given",
    )


def _frozen(watch: BootWatch) -> Finding:
    limits = watch.expectation.limits
    return Finding(
        Outcome.HANG,
        "the boot was complete, and then the system did not say that it is alive within "
        f"{limits.settle_s + limits.alive_s:g} s",
        "the system froze: the console's last lines may show what it did; a service that takes "
        "all of the processor or memory does that too",
    )


def _step_hangs(watch: BootWatch) -> Finding:
    limit = f"{watch.expectation.limits.step_s:g} s"
    progress = watch.progress
    if progress.stage is Stage.ONBOOT and progress.step:
        return Finding(
            Outcome.HANG,
            f"the onboot step {progress.step} did not end within {limit}",
            f"find what {progress.step} waits for; what it wrote is above. If it needs longer, "
            "give a higher limit",
            step=progress.step,
            since=progress.step_line,
        )
    if starting := progress.starting:
        names = ", ".join(starting)
        return Finding(
            Outcome.HANG,
            f"the service {names} did not come up within {limit}",
            f"does {names} wait for something that is not there? Its health command decides when "
            "it is up",
            step=starting[0],
            since=progress.starting_line,
        )
    return Finding(
        Outcome.HANG,
        f"init fell silent for {limit}; its last word: {progress.events[-1].name}",
        "the last lines show what init did last",
    )
