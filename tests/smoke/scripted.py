# SPDX-License-Identifier: Apache-2.0
"""A console that says what a test wants, on a clock that a test moves."""

from __future__ import annotations

from farm.smoke.timeline import Event, format_line
from farm.smoke.verdict import Expectation, Limits, Verdict
from farm.smoke.watch import BootWatch

BOOT = "0badc0de"
FIRMWARE = (
    "MESS:00:00:04.300000:0: Read config.txt bytes      131 hnd 0x3",
    "MESS:00:00:04.500000:0: Loaded 'kernel8.img' to 0x200000 size 0x2400000",
    "MESS:00:00:04.800000:0: uart: Baud rate change done...",
)
LIMITS = Limits(firmware_s=10, kernel_s=20, step_s=15, settle_s=4, alive_s=6, port_s=10)
BUILD = "0123456789abcdef"
RELEASE = "6.12.94+deb13-arm64"


def timeline_line(
    seq: int, event: str, /, boot: str = BOOT, time_s: float = 1.0, **fields: str
) -> str:
    """One line as init writes it."""
    return format_line(Event(boot, seq, time_s, event, fields))


def told(verdict: Verdict) -> Verdict:
    """What every verdict but a pass must bring along."""
    assert verdict.summary
    if not verdict.passed:
        assert verdict.next_step
    return verdict


class Scripted:
    """Feeds a `BootWatch` with lines; the clock moves by `wait` and a little with each line."""

    def __init__(self, expectation: Expectation | None = None, *, first_seq: int = 1) -> None:
        self.watch = BootWatch(
            expectation
            or Expectation("raspberrypi", onboot=("dhcp",), services=("hello",), limits=LIMITS)
        )
        self.clock_s = 0.0
        self.seq = first_seq

    def say(self, *lines: str) -> Scripted:
        """The board writes lines."""
        for line in lines:
            self.raw(line.encode() + b"\r\n")
        return self

    def raw(self, data: bytes) -> Scripted:
        """The board writes bytes."""
        self.clock_s += 0.01
        self.watch.feed(data, self.clock_s, 1_700_000_000 + self.clock_s)
        return self

    def event(self, name: str, /, **fields: str) -> Scripted:
        """Init writes the next line of its timeline, through the kernel's log."""
        line = timeline_line(self.seq, name, time_s=self.clock_s, **fields)
        self.seq += 1
        return self.say(f"[{self.clock_s:12.6f}] {line}")

    def lose(self, count: int = 1) -> Scripted:
        """The next lines of the timeline do not arrive."""
        self.seq += count
        return self

    def wait(self, seconds: float) -> Scripted:
        """Nothing comes; the clock ticks twice a second."""
        until = self.clock_s + seconds
        while self.clock_s < until:
            self.clock_s = min(until, self.clock_s + 0.5)
            self.watch.tick(self.clock_s)
        return self

    def firmware(self) -> Scripted:
        """The firmware does its work."""
        return self.say(*FIRMWARE)

    def kernel(self) -> Scripted:
        """The kernel begins."""
        return self.say(
            "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]",
            "[    0.000000] Linux version 6.12.94+deb13-arm64 (debian-kernel@lists.debian.org)",
        )

    def init(self) -> Scripted:
        """Init begins."""
        self.event("start", kernel=RELEASE, init="1", build=BUILD)
        return self.event("modules", count="3", failed="0")

    def onboot(self) -> Scripted:
        """The onboot step runs and ends well."""
        self.event("onboot-begin", name="dhcp")
        return self.event("onboot-end", name="dhcp", rc="0", s="0.5")

    def services(self) -> Scripted:
        """The service comes up, the boot is complete, and the system is alive still."""
        return self.up().settled()

    def up(self) -> Scripted:
        """The service comes up, and the boot is complete."""
        self.event("service-begin", name="hello")
        self.event("service-up", name="hello", s="0.1", by="running")
        return self.event("complete", s="2.5")

    def settled(self, up: str = "1") -> Scripted:
        """Init says that it is alive still."""
        return self.event("settled", s="6.5", up=up)

    def whole(self) -> Scripted:
        """A boot without fault, up to the last that init says of it."""
        return self.firmware().kernel().init().onboot().services()

    @property
    def verdict(self) -> Verdict:
        """What came out; there must be something."""
        assert self.watch.verdict is not None
        return self.watch.verdict
