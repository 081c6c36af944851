# SPDX-License-Identifier: Apache-2.0
"""How far the guest's init says that it is, by its timeline."""

from __future__ import annotations

from farm.smoke.finding import Finding
from farm.smoke.timeline import Event
from farm.smoke.verdict import Expectation, Outcome, Skipped, Stage

_SHOWN = 8


class Progress:
    """Follows one boot's timeline events.

    Events of another boot, or with a number that was there before, are counted and not
    believed; a new `start` is a new boot.
    """

    def __init__(self, expectation: Expectation) -> None:
        self._expected = expectation
        self.stage: Stage | None = None
        self.boot: str | None = None
        self.events: list[Event] = []
        self.arrivals: list[float] = []
        self.skipped: list[Skipped] = []
        self.foreign_lines = 0
        self.lost: list[tuple[int, int]] = []
        self.corrupt_lines = 0
        self.corrupt_since_event = 0
        self.last_at_s = 0.0
        self.step: str = ""
        self.complete_at_s: float | None = None
        self._done: set[tuple[str, str]] = set()
        self._starting: dict[str, int] = {}
        self.step_line: int | None = None
        self._next_seq = 1

    @property
    def lost_lines(self) -> int:
        """How many numbers are missing."""
        return sum(last - first + 1 for first, last in self.lost)

    @property
    def starting(self) -> tuple[str, ...]:
        """Services that began and are not up yet."""
        return tuple(self._starting)

    @property
    def damaged(self) -> bool:
        """Whether timeline lines did not arrive as they were written."""
        return bool(self.lost or self.corrupt_lines)

    def corrupt(self) -> None:
        """Take note of a line whose checksum or shape is wrong."""
        self.corrupt_lines += 1
        self.corrupt_since_event += 1

    def take(self, event: Event, number: int, clock_s: float) -> Finding | None:
        """Take an event from console line `number`; return what it decides, if anything."""
        if self.boot is None:
            self.boot = event.boot
        elif event.boot != self.boot:
            self.foreign_lines += 1
            if event.name == "start" and event.seq == 1:
                return self._another_boot(event)
            return None
        if event.seq < self._next_seq:
            self.foreign_lines += 1
            return None
        if event.seq > self._next_seq:
            self.lost.append((self._next_seq, event.seq - 1))
        self._next_seq = event.seq + 1
        self.events.append(event)
        self.arrivals.append(clock_s)
        self.last_at_s = clock_s
        self.corrupt_since_event = 0
        return self._judge(event, number, clock_s)

    def _judge(self, event: Event, number: int, clock_s: float) -> Finding | None:
        name = event.fields.get("name", "")
        match event.name:
            case "start" | "modules" | "network":
                self._reach(Stage.INIT)
            case "onboot-begin":
                self._reach(Stage.ONBOOT)
                self.step, self.step_line = name, number
            case "onboot-end":
                return self._onboot_end(event, name)
            case "skipped":
                return self._skip(event, name, number)
            case "service-begin":
                self._reach(Stage.SERVICES)
                self._starting[name] = number
            case "service-up":
                self._starting.pop(name, None)
                self._done.add(("services", name))
            case "service-failed":
                return self._service_failed(event, name)
            case "service-exit":
                return self._service_exit(event, name, number)
            case "complete":
                return self._complete(clock_s)
            case "failed":
                return self._failed(event, name)
            case "shutdown":
                return self._shutdown(event)
        return None

    def _reach(self, stage: Stage) -> None:
        if self.stage is None or stage.order > self.stage.order:
            self.stage = stage

    def _onboot_end(self, event: Event, name: str) -> Finding | None:
        self._reach(Stage.ONBOOT)
        code = event.fields.get("rc", "0")
        since, self.step, self.step_line = self.step_line, "", None
        if code == "0":
            self._done.add(("onboot", name))
            return None
        return Finding(
            Outcome.ONBOOT_FAILED,
            f"the onboot step {name} ended with exit code {code}{_meaning(code)}",
            f"read what {name} wrote above its end; its exit code must be 0, since what comes "
            "after relies on it",
            step=name,
            since=since,
        )

    def _skip(self, event: Event, name: str, number: int) -> Finding | None:
        kind, need = event.fields.get("kind", ""), event.fields.get("need", "")
        self.skipped.append(Skipped(kind, name, need))
        self._done.add((kind, name))
        self._starting.pop(name, None)
        if need in self._expected.missing:
            return None
        outcome = Outcome.SERVICE_FAILED if kind == "services" else Outcome.ONBOOT_FAILED
        what = "no network card appeared" if need == "network" else f"there was no {need}"
        return Finding(
            outcome,
            f"{name} was skipped: {what}, although this board has one",
            f"look for the {need} driver's lines in the console log: is its module among the "
            "board's `modules:`, and its cable or device there? What a board really lacks is "
            "listed in its file under `missing:`",
            step=name,
        )

    def _service_failed(self, event: Event, name: str) -> Finding:
        since = self._starting.pop(name, None)
        code = event.fields.get("rc", "?")
        if event.fields.get("reason") == "health":
            summary = f"the service {name} runs, but its health command never ended with 0"
            advice = f"run the health command of {name} by hand, or give it more time (`health:`)"
        else:
            summary = f"the service {name} ended with exit code {code}{_meaning(code)}"
            summary += " while it was starting"
            advice = f"read what {name} wrote below its begin; a service must go on running"
        return Finding(Outcome.SERVICE_FAILED, summary, advice, step=name, since=since)

    def _service_exit(self, event: Event, name: str, number: int) -> Finding:
        code = event.fields.get("rc", "?")
        when = (
            "after the boot was complete" if self.complete_at_s is not None else "after it was up"
        )
        return Finding(
            Outcome.SERVICE_FAILED,
            f"the service {name} ended with exit code {code}{_meaning(code)} {when}",
            f"find out why {name} ends; init starts it again, but a service that ends so soon "
            "does not serve",
            step=name,
            since=max(1, number - _SHOWN),
        )

    def _complete(self, clock_s: float) -> Finding | None:
        self._reach(Stage.COMPLETE)
        self.complete_at_s = clock_s
        self.step = ""
        for kind, names, outcome in (
            ("onboot", self._expected.onboot, Outcome.ONBOOT_FAILED),
            ("services", self._expected.services, Outcome.SERVICE_FAILED),
        ):
            absent = [name for name in names if (kind, name) not in self._done]
            if absent:
                return self._unaccounted(kind, absent, outcome)
        return None

    def _unaccounted(self, kind: str, absent: list[str], outcome: Outcome) -> Finding:
        names = ", ".join(absent)
        if self.damaged:
            return Finding(
                Outcome.INFRASTRUCTURE,
                f"the console lost timeline lines, so that nothing is known of {names}",
                "check the serial line (cable, speed, power); then run it again",
                step=absent[0],
            )
        return Finding(
            outcome,
            f"init says that the boot is complete, but {kind} {names} never began",
            "the system that booted is not the one that was meant: is this card, image or boot "
            "medium the right one? `farm card inspect` shows what the firmware would boot",
            step=absent[0],
        )

    def _failed(self, event: Event, name: str) -> Finding:
        # The line of the step or service itself came before and decided already, unless lost.
        stage, code = event.fields.get("stage", ""), event.fields.get("rc", "?")
        outcome = Outcome.SERVICE_FAILED if stage == "services" else Outcome.ONBOOT_FAILED
        return Finding(
            outcome,
            f"init gave up at {stage}: {name} ended with exit code {code}{_meaning(code)}",
            f"read what {name} wrote in the console log",
            step=name,
        )

    def _shutdown(self, event: Event) -> Finding:
        if event.fields.get("reason") == "reboot":
            return Finding(
                Outcome.BOOT_LOOP,
                "the system rebooted by itself, and nobody asked for it",
                "find what calls reboot: the lines before it name the step",
                step=self.step,
                grace_s=3.0,
            )
        return power_off(self.step)

    def _another_boot(self, event: Event) -> Finding:
        return Finding(
            Outcome.BOOT_LOOP,
            f"the system booted again (boot {self.boot}, then {event.boot}), and nobody asked "
            "for it",
            "read the last lines before the second boot: a watchdog, `reboot`, or a loss of "
            "power ends a boot",
            step=self.step,
        )


def power_off(step: str) -> Finding:
    """The finding for a system that turned itself off while it was watched."""
    return Finding(
        Outcome.SHUTDOWN,
        "the system turned itself off while it was watched",
        "find what calls poweroff: the lines before it name the step",
        step=step,
    )


def _meaning(code: str) -> str:
    """What an exit code over 128 says, in words."""
    if not code.isdecimal() or not 128 < int(code) < 160:
        return ""
    names = {6: "abort", 9: "killed; out of memory?", 11: "segmentation fault", 15: "terminated"}
    signal = int(code) - 128
    return f" (signal {signal}{': ' + names[signal] if signal in names else ''})"
