# SPDX-License-Identifier: Apache-2.0
"""Reads a booting board's console and says what became of it.

`BootWatch` is fed with bytes and with the target's own clock; it does no input or output,
and no time passes in it but what it is told.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator

from farm.firmware import console as firmware
from farm.smoke.finding import Finding, doubted, initramfs, oops, other_version, panic
from farm.smoke.kernel import KernelReader, Sign, begins_kernel, stamped, stamped_at
from farm.smoke.limits import overdue
from farm.smoke.lines import Line, LineReader, harmless
from farm.smoke.progress import CAUSE_LINES, Progress, power_off
from farm.smoke.timeline import Corrupt, Event, OtherVersion, parse_line
from farm.smoke.verdict import (
    ConsoleHealth,
    Expectation,
    Mark,
    Outcome,
    Skipped,
    Stage,
    Verdict,
)

KEPT_LINES = 2000
LAST_LINES = 20
TRACE_LINES = 60
"""Of a panic or oops: registers stand before the call trace."""
MAX_WARNINGS = 20
FIRMWARE_LINES = 3
"""So many of its lines on end, after the kernel's first, mean that the board was reset."""
UNDECODABLE_SHARE = 0.1
"""With more of the bytes than this undecodable, silence proves nothing about the image."""
UNDECODABLE_LEAST = 64


class BootWatch:
    """Judges one boot, from power-on to the verdict.

    Feed it from before power-on is asked for; call `tick` at least twice a second of the
    target's clock. When `complete` is true, ask `ports_to_ask` from outside and report each by
    `port_answered` or `port_closed`; a pass waits for them.

    Args:
        expectation: what the boot must show.
        clock_s: the target's clock at power-on.
    """

    def __init__(self, expectation: Expectation, clock_s: float = 0.0) -> None:
        self.expectation = expectation
        self.verdict: Verdict | None = None
        self.stage = Stage.POWER
        self.clock_s = clock_s
        self.handed_over_s: float | None = None
        self.banners = 0
        self.progress = Progress(expectation)
        self.started_s = clock_s
        self.last_line = ""
        self._reader = LineReader()
        self.kernel = KernelReader()
        self._lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self._marks: list[Mark] = [Mark(Stage.POWER, 0.0)]
        self._warnings: dict[str, int] = {}
        self._finding: Finding | None = None
        self._finding_at: tuple[int, float] = (0, 0.0)
        self._firmware_lines = 0
        self._answered: set[tuple[str, int]] = set()

    def feed(self, data: bytes, clock_s: float, wall: float) -> None:
        """Take bytes of the console.

        Args:
            data: as they were read.
            clock_s: the target's clock.
            wall: seconds since 1970.
        """
        if self.verdict is not None:
            return
        self.clock_s = max(self.clock_s, clock_s)
        for line in self._reader.feed(data, clock_s, wall):
            self._lines.append(line)
            self.last_line = line.text
            self._read(line)
        self.tick(clock_s)

    def tick(self, clock_s: float) -> None:
        """Say what time it is on the target's clock."""
        if self.verdict is not None:
            return
        self.clock_s = max(self.clock_s, clock_s)
        if self._finding is not None:
            if self.clock_s - self._finding_at[1] >= self._finding.grace_s:
                self._decide(self._finding)
            return
        if (late := overdue(self)) is not None:
            self._finding, self._finding_at = late, (self._number, self.clock_s)
            self._decide(late)
        elif self._settled():
            self._pass()

    def infrastructure(self, summary: str, next_step: str) -> Verdict:
        """Report trouble of the bench: the board's power, its host, the lease, QEMU.

        What the console has already shown of the image comes first.
        """
        if self.verdict is None:
            found = self._finding or Finding(Outcome.INFRASTRUCTURE, summary, next_step)
            if found is not self._finding:
                self._finding_at = (self._number, self.clock_s)
            self._decide(found)
        assert self.verdict is not None
        return self.verdict

    def powered_off(self) -> None:
        """Report that the board's power is off although nobody switched it off."""
        if self._finding is None and self.verdict is None:
            self.infrastructure(
                "the board lost its power, or its emulator ended, and nobody asked for it",
                "look at the bench: the power supply and its relay, for a virtual board the "
                "agent's log; then run it again",
            )

    @property
    def complete(self) -> bool:
        """Whether the guest has said that its boot is complete."""
        return self.progress.complete_at_s is not None

    @property
    def ports_to_ask(self) -> tuple[tuple[str, int], ...]:
        """The (service, port) that must answer from outside: not those of skipped services."""
        skipped = {one.name for one in self.progress.skipped if one.kind == "services"}
        return tuple(one for one in self.expectation.ports if one[0] not in skipped)

    @property
    def ports_due_s(self) -> float:
        """When, on the target's clock, an unanswered port counts as closed."""
        limits = self.expectation.limits
        return (self.progress.complete_at_s or self.clock_s) + limits.settle_s + limits.port_s

    def port_answered(self, service: str, port: int) -> None:
        """Report that somebody answered there."""
        self._answered.add((service, port))
        self.tick(self.clock_s)

    def port_skipped(self, service: str, port: int, why: str) -> None:
        """Report that a port cannot be asked on this bench; the verdict says so."""
        self.progress.skipped.append(Skipped("port", f"{service}:{port}", "network"))
        if "network" not in self.expectation.missing:
            self._warn(f"port {port} of {service} was not asked: {why}")
        self.port_answered(service, port)

    def port_closed(self, service: str, port: int, why: str) -> None:
        """Report that nobody answered there in time."""
        self._found(
            Finding(
                Outcome.PORT_CLOSED,
                f"{service} is up, but its TCP port {port} does not answer from outside: {why}",
                f"does {service} listen on every address, and on port {port}? What it wrote is "
                f"in the guest's /run/log/{service}; `ports:` of the component says what is asked",
                step=service,
                grace_s=0.0,
            )
        )
        self.tick(self.clock_s)

    def stage_at_s(self, stage: Stage) -> float:
        """When a stage was reached, in seconds since power-on; 0 where it was not."""
        return next((mark.at_s for mark in self._marks if mark.stage is stage), 0.0)

    @property
    def garbled(self) -> bool:
        """Whether the console is too damaged for silence to prove anything."""
        read, bad = self._reader.bytes_read, self._reader.undecodable_bytes
        return bad >= UNDECODABLE_LEAST and bad > UNDECODABLE_SHARE * read

    @property
    def silent(self) -> bool:
        """Whether nothing at all was read."""
        return self._reader.bytes_read == 0

    @property
    def _number(self) -> int:
        return self._lines[-1].number if self._lines else 0

    def _read(self, line: Line) -> None:
        """Take one line: a part of the timeline, the kernel's, the firmware's, or any."""
        kind, text = self.expectation.firmware_kind, line.text
        if self.stage.order <= Stage.FIRMWARE.order and not stamped(text):
            if self._firmware(kind, line):
                return
        elif self._firmware_again(kind, line):
            return
        said = parse_line(text)
        match said:
            case Event():
                has_stamp = stamped_at(text, text.rindex("farm/"))
                found = self.progress.take(said, line.number, line.clock_s, stamped=has_stamp)
                self._found(found)
                if self.progress.stage is not None:
                    self._reach(Stage.KERNEL)
                    self._reach(self.progress.stage)
            case OtherVersion() if self.progress.lines.boot is None:
                self._found(other_version(said.version))
            case OtherVersion() | Corrupt():
                self.progress.lines.corrupt()
            case None:
                self._kernel_line(line)

    def _firmware_again(self, kind: str, line: Line) -> bool:
        """Take a line of the time after the hand-over; return whether the firmware is back.

        One line proves nothing: what a service prints may look like firmware's.
        """
        text = line.text
        if stamped(text) or not firmware.is_firmware_line(kind, text):
            self._firmware_lines = 0
            return False
        self._firmware_lines += firmware.proves_firmware(kind, text)
        end = firmware.handed_over(kind, text) or firmware.stopped(kind, text) is not None
        if self._firmware_lines >= FIRMWARE_LINES or (end and self._firmware_lines > 1):
            self._found(self._again("the firmware began anew"))
        return True

    def _firmware(self, kind: str, line: Line) -> bool:
        """Take a line of the time before the kernel; return whether it is the firmware's."""
        text = line.text
        if not firmware.is_firmware_line(kind, text):
            return False
        self._reach(Stage.FIRMWARE)
        if (reason := firmware.stopped(kind, text)) is not None:
            self._found(
                Finding(
                    Outcome.FIRMWARE,
                    f"the firmware did not start a kernel: {harmless(reason)}",
                    "`farm card inspect IMAGE --board BOARD` shows what the firmware finds on "
                    "this image, file by file",
                    since=max(1, line.number - CAUSE_LINES // 2),
                )
            )
        elif self.handed_over_s is None and firmware.handed_over(kind, text):
            self.handed_over_s = line.clock_s
        return True

    def _kernel_line(self, line: Line) -> None:
        text = line.text
        if self.handed_over_s is not None or stamped(text) or begins_kernel(text):
            self._reach(Stage.KERNEL)
        match self.kernel.sign(text):
            case Sign.BANNER:
                self.banners += 1
                # A second console of one port replays the log, so that a second banner
                # before init proves nothing.
                if self.progress.lines.boot is not None or self.banners > 2:
                    self._found(self._again("the kernel began anew"))
            case Sign.PANIC:
                self._found(panic(line, CAUSE_LINES // 3))
            case Sign.PANIC_END:
                self._close(Outcome.PANIC)
            case Sign.OOPS:
                self._found(oops(line))
            case Sign.INITRAMFS:
                self._found(initramfs(line))
            case Sign.WARNING:
                self._warn(text)
            case Sign.RESTART:
                self._found(self._again("the kernel restarted the board"))
            case Sign.POWER_OFF:
                self._found(power_off(self.progress.step))
            case _:
                pass

    def _again(self, what: str) -> Finding:
        where = f" during {self.progress.step}" if self.progress.step else ""
        return Finding(
            Outcome.BOOT_LOOP,
            f"the system rebooted by itself at stage {self.stage}{where}: {what}",
            "read the last lines before it: a watchdog, `reboot`, or a loss of power ends a boot",
            step=self.progress.step,
            since=max(1, self._number - CAUSE_LINES // 2),
            grace_s=3.0,
        )

    def _found(self, finding: Finding | None) -> None:
        """Keep the gravest finding; the first of equals."""
        if finding is None or self.verdict is not None:
            return
        if self._finding is not None:
            if finding.weight <= self._finding.weight:
                return
            if self._finding.outcome is Outcome.OOPS and self._finding.since is not None:
                # The panic is the end of what the oops began.
                finding = dataclasses.replace(finding, since=self._finding.since)
        self._finding, self._finding_at = finding, (self._number, self.clock_s)

    def _close(self, outcome: Outcome) -> None:
        """The evidence of `outcome` is whole: nothing more is waited for."""
        if self._finding is not None and self._finding.outcome is outcome:
            self._decide(self._finding)

    def _reach(self, stage: Stage) -> None:
        if stage.order > self.stage.order:
            self.stage = stage
            self._marks.append(Mark(stage, self._since_power()))

    def _since_power(self) -> float:
        return round(self.clock_s - self.started_s, 3)

    def _warn(self, text: str) -> None:
        if text in self._warnings or len(self._warnings) < MAX_WARNINGS:
            self._warnings[text] = self._warnings.get(text, 0) + 1

    def _settled(self) -> bool:
        complete_at = self.progress.complete_at_s
        if complete_at is None:
            return False
        if self.clock_s - complete_at < self.expectation.limits.settle_s:
            return False
        if not self.progress.settled:
            return False
        self._reach(Stage.SETTLED)
        return self._answered.issuperset(self.ports_to_ask)

    def _doubt(self) -> str | None:
        """Why all that was read is good and proves nothing all the same; None where it does."""
        if self.progress.lines.doubt is not None:
            return self.progress.lines.doubt
        # A build id ties the timeline to this image; without one, the whole boot must be seen.
        seen = self.banners > 0 or any(mark.stage is Stage.FIRMWARE for mark in self._marks)
        if not self.expectation.build_id and not seen:
            return "neither the firmware nor the kernel was seen to begin"
        return None

    def _pass(self) -> None:
        if (doubt := self._doubt()) is not None:
            self._finding, self._finding_at = doubted(doubt), (self._number, self.clock_s)
            self._decide(self._finding)
            return
        what = "what this board can exercise" if self.progress.skipped else "everything"
        finding = Finding(Outcome.PASS, f"the boot is complete, and {what} is up", "")
        self.verdict = self._verdict(finding, ())

    def _decide(self, finding: Finding) -> None:
        self.verdict = self._verdict(finding, self._cause(finding))

    def _cause(self, finding: Finding) -> tuple[str, ...]:
        """The lines that show why: from where it begins to a little after the finding."""
        number = self._finding_at[0]
        since = finding.since if finding.since is not None else number - CAUSE_LINES // 3
        until = self._number if finding.first else number + CAUSE_LINES // 3
        lines = [line.text for line in self._lines if since <= line.number <= until]
        return tuple(lines[:TRACE_LINES] if finding.first else lines[-CAUSE_LINES:])

    def _verdict(self, finding: Finding, cause: tuple[str, ...]) -> Verdict:
        last = [line.text for line in list(self._lines)[-LAST_LINES:]]
        if rest := self._reader.rest():
            last.append(rest)
        progress = self.progress
        return Verdict(
            outcome=finding.outcome,
            stage=self.stage,
            summary=harmless(finding.summary),
            step=harmless(finding.step),
            cause_lines=cause,
            last_lines=tuple(last),
            next_step=harmless(finding.next_step),
            skipped=tuple(progress.skipped),
            warnings=tuple(self._all_warnings()),
            timeline=tuple(progress.events),
            arrivals=tuple(round(at - self.started_s, 3) for at in progress.arrivals),
            marks=tuple(self._marks),
            console=ConsoleHealth(
                bytes=self._reader.bytes_read,
                undecodable_bytes=self._reader.undecodable_bytes,
                corrupt_lines=progress.lines.corrupt_lines,
                foreign_lines=progress.lines.foreign_lines,
                lost_lines=progress.lines.lost_lines,
            ),
            duration_s=self._since_power(),
        )

    def _all_warnings(self) -> Iterator[str]:
        for text, count in self._warnings.items():
            yield f"{text} ({count} times)" if count > 1 else text
        if self.garbled:
            yield "the console is garbled: check its speed, cable and ground"
        lines = self.progress.lines
        if corrupt := lines.corrupt_lines:
            yield f"{corrupt} timeline lines with a wrong checksum or shape"
        if foreign := lines.foreign_lines:
            yield f"{foreign} timeline lines of another boot or origin, or sent twice: not believed"
        for first, last in lines.lost[:MAX_WARNINGS]:
            yield f"timeline lines {first} to {last} never arrived"
