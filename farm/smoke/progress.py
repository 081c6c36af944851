# SPDX-License-Identifier: Apache-2.0
"""How far the guest's init says that it is, by its timeline."""

from __future__ import annotations

from farm.smoke.finding import Finding
from farm.smoke.sequence import Sequence, Taken
from farm.smoke.timeline import Event
from farm.smoke.verdict import Expectation, Outcome, Skipped, Stage

CAUSE_LINES = 30
_SHOWN = 8


class Progress:
    """Follows one boot's timeline events.

    Those that are not believed (`Sequence`) decide nothing.
    """

    def __init__(self, expectation: Expectation) -> None:
        self._expected = expectation
        self.lines = Sequence()
        self.stage: Stage | None = None
        self.events: list[Event] = []
        self.arrivals: list[float] = []
        self.skipped: list[Skipped] = []
        self.last_at_s = 0.0
        self.step: str = ""
        self.complete_at_s: float | None = None
        self.settled = False
        self._up: set[str] = set()
        self._done: set[tuple[str, str]] = set()
        self._starting: dict[str, int] = {}
        self.step_line: int | None = None

    @property
    def starting(self) -> tuple[str, ...]:
        """Services that began and are not up yet."""
        return tuple(self._starting)

    @property
    def starting_line(self) -> int | None:
        """The console line where the first of them began."""
        return min(self._starting.values(), default=None)

    def take(self, event: Event, number: int, clock_s: float, *, stamped: bool) -> Finding | None:
        """Take an event; return what it decides, if anything.

        Args:
            event: what init says.
            number: of the console line.
            clock_s: when it was read, on the target's clock.
            stamped: whether the kernel's stamp stood before it.
        """
        match self.lines.take(event, stamped=stamped):
            case Taken.IGNORED:
                return None
            case Taken.ANOTHER_BOOT:
                return self._another_boot(event)
        self.events.append(event)
        self.arrivals.append(clock_s)
        self.last_at_s = clock_s
        return self._judge(event, number, clock_s)

    def _judge(self, event: Event, number: int, clock_s: float) -> Finding | None:
        name = event.fields.get("name", "")
        match event.name:
            case "start":
                self._reach(Stage.INIT)
                return self._start(event)
            case "modules":
                self._reach(Stage.INIT)
                return self._modules(event, number)
            case "network":
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
                self._up.add(name)
            case "service-failed":
                return self._service_failed(event, name)
            case "service-exit":
                return self._service_exit(event, name, number)
            case "complete":
                return self._complete(clock_s)
            case "settled":
                return self._settled(event)
            case "failed":
                return self._failed(event, name)
            case "shutdown":
                return self._shutdown(event)
        return None

    def _reach(self, stage: Stage) -> None:
        if self.stage is None or stage.order > self.stage.order:
            self.stage = stage

    def _start(self, event: Event) -> Finding | None:
        """Compare the system that began with the one that is tested."""
        for what, key, meant in (
            ("kernel", "kernel", self._expected.kernel_release),
            ("build id", "build", self._expected.build_id),
        ):
            found = event.fields.get(key, "")
            if meant and found != meant:
                return Finding(
                    Outcome.INFRASTRUCTURE,
                    f"another system booted than the one under test: its {what} is "
                    f"{found or 'not told'}, and the image's is {meant}",
                    "is this the right board, with the right card in, and does it boot from that "
                    "card? Was the image built anew after it was written?",
                    first_cause=True,
                )
        return None

    def _modules(self, event: Event, number: int) -> Finding | None:
        failed = event.fields.get("failed", "0")
        if failed == "0":
            return None
        return Finding(
            Outcome.INIT_FAILED,
            f"{failed} of the image's kernel modules could not be loaded",
            "the lines `insmod: ...` name them and say why; boards and components list what is "
            "loaded under `modules:`",
            since=max(1, number - CAUSE_LINES),
        )

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
        self._up.discard(name)
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
        self.lines.late = True
        self.step = ""
        for kind, names, outcome in (
            ("onboot", self._expected.onboot, Outcome.ONBOOT_FAILED),
            ("services", self._expected.services, Outcome.SERVICE_FAILED),
        ):
            absent = [name for name in names if (kind, name) not in self._done]
            if absent:
                return self._unaccounted(kind, absent, outcome)
        return None

    def _settled(self, event: Event) -> Finding | None:
        self.settled = True
        up, count = event.fields.get("up", ""), len(self._up)
        if up.isdecimal() and int(up) >= count:
            return None
        return Finding(
            Outcome.SERVICE_FAILED,
            f"of {count} services that came up, only {up} still ran when the boot had settled",
            "`/run/log/NAME/` in the guest has what each service wrote",
        )

    def _unaccounted(self, kind: str, absent: list[str], outcome: Outcome) -> Finding:
        names = ", ".join(absent)
        if self.lines.damaged:
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
            f"the system booted again (boot {self.lines.boot}, then {event.boot}), and nobody "
            "asked for it",
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
