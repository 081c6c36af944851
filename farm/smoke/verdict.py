# SPDX-License-Identifier: Apache-2.0
"""What a boot is measured by, and what came out of it.

A `Verdict` is written as JSON (`to_json`, format 1, described in `docs/verdicts.md`) and
read back by `from_json`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from farm.core.errors import ExitCode, UserError
from farm.smoke.timeline import Event

FORMAT = 1


class Outcome(StrEnum):
    """What happened, in one word."""

    PASS = "pass"
    FIRMWARE = "firmware"
    PANIC = "panic"
    OOPS = "oops"
    INIT_FAILED = "init-failed"
    NO_OUTPUT = "no-output"
    HANG = "hang"
    ONBOOT_FAILED = "onboot-failed"
    SERVICE_FAILED = "service-failed"
    PORT_CLOSED = "port-closed"
    BOOT_LOOP = "boot-loop"
    SHUTDOWN = "shutdown"
    INFRASTRUCTURE = "infrastructure"


class Fault(StrEnum):
    """On whose side the cause is."""

    NONE = "none"
    IMAGE = "image"
    BENCH = "bench"


class Stage(StrEnum):
    """How far a boot came. The members stand in the order of a boot."""

    POWER = "power"
    FIRMWARE = "firmware"
    KERNEL = "kernel"
    INIT = "init"
    ONBOOT = "onboot"
    SERVICES = "services"
    COMPLETE = "complete"
    SETTLED = "settled"

    @property
    def order(self) -> int:
        """The place in the order of a boot, from 0."""
        return _STAGES.index(self)


_STAGES = tuple(Stage)


@dataclass(frozen=True)
class Limits:
    """How long each part of a boot may take, in seconds of the target's own clock.

    Args:
        firmware_s: from power to the hand-over to the kernel.
        kernel_s: from the hand-over to init's first timeline line.
        step_s: between two timeline lines, until the boot is complete.
        settle_s: how long a complete boot is watched further.
        alive_s: how much longer init may take to say that the system is alive still.
        port_s: from the complete boot until every declared port must have answered.
    """

    firmware_s: float = 60.0
    kernel_s: float = 90.0
    step_s: float = 90.0
    settle_s: float = 5.0
    alive_s: float = 30.0
    port_s: float = 30.0


@dataclass(frozen=True)
class Expectation:
    """What a boot of one image on one board must show.

    Args:
        firmware_kind: the board's `firmware.kind`, whose console lines are known.
        onboot: names of the onboot steps, in order; () where the image is not farm's.
        services: names of the services.
        ports: (service, TCP port) that are asked from outside.
        missing: what the board lacks, so that steps that need it may be skipped.
        build_id: what the image's init says of itself; "" where it is not known.
        kernel_release: the kernel's; "" where it is not known.
        limits: the time limits.
    """

    firmware_kind: str
    onboot: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    ports: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()
    build_id: str = ""
    kernel_release: str = ""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Skipped:
    """A container that init did not start, because the board lacks what it needs."""

    kind: str
    name: str
    need: str


@dataclass(frozen=True)
class Mark:
    """When a stage was reached, in seconds of the target's clock since power-on."""

    stage: Stage
    at_s: float


@dataclass(frozen=True)
class ConsoleHealth:
    """What was wrong with the console itself.

    Args:
        bytes: how many were read.
        undecodable_bytes: of them, neither text nor a control character that consoles use.
        corrupt_lines: timeline lines whose checksum or shape is wrong.
        foreign_lines: timeline lines that are not believed: of another boot, with a number that
            was there before, from before `start`, or not from the kernel's log as the others.
        lost_lines: numbers that are missing in the timeline.
    """

    bytes: int = 0
    undecodable_bytes: int = 0
    corrupt_lines: int = 0
    foreign_lines: int = 0
    lost_lines: int = 0


@dataclass(frozen=True)
class Verdict:
    """What came out of one boot, and why.

    Args:
        outcome: what happened.
        stage: the last stage that was reached.
        summary: one sentence for a person, without a full stop.
        step: the onboot step or service that it is about, or "".
        cause_lines: the console lines that show the cause, harmless to print.
        last_lines: the last console lines, harmless to print.
        next_step: what to do next, for a person; "" for a pass without anything to say.
        skipped: what was not exercised.
        warnings: what a person should know although it did not decide.
        timeline: the timeline's events of this boot, in order.
        arrivals: when each of them was read, in seconds since power-on on the target's clock,
            which is not the guest's own.
        marks: when each stage was reached.
        console: what was wrong with the console.
        duration_s: from power-on to the verdict, on the target's clock.
    """

    outcome: Outcome
    stage: Stage
    summary: str
    step: str = ""
    cause_lines: tuple[str, ...] = ()
    last_lines: tuple[str, ...] = ()
    next_step: str = ""
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    timeline: tuple[Event, ...] = ()
    arrivals: tuple[float, ...] = ()
    marks: tuple[Mark, ...] = ()
    console: ConsoleHealth = ConsoleHealth()
    duration_s: float = 0.0
    format: int = FORMAT

    @property
    def passed(self) -> bool:
        """Whether the image did what it promises."""
        return self.outcome is Outcome.PASS

    @property
    def fault(self) -> Fault:
        """On whose side the cause is.

        A console without a single readable line is the bench's: a board's firmware speaks
        before it looks at the image.
        """
        if self.outcome is Outcome.PASS:
            return Fault.NONE
        if self.outcome is Outcome.INFRASTRUCTURE:
            return Fault.BENCH
        if self.outcome is Outcome.NO_OUTPUT and self.stage is Stage.POWER:
            return Fault.BENCH
        return Fault.IMAGE

    @property
    def exit_code(self) -> ExitCode:
        """What a run with this verdict ends with."""
        return {
            Fault.NONE: ExitCode.OK,
            Fault.IMAGE: ExitCode.FAILED,
            Fault.BENCH: ExitCode.BENCH,
        }[self.fault]

    @property
    def title(self) -> str:
        """The verdict in a few words: `pass (network not exercised)`, `panic`."""
        needs = sorted({skipped.need for skipped in self.skipped})
        if self.passed and needs:
            return f"pass ({', '.join(needs)} not exercised)"
        return self.outcome.value.replace("-", " ")

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values; `fault` and `title` are added for readers."""
        plain = cast("dict[str, Any]", _adapter().dump_python(self, mode="json"))
        return {"format": FORMAT, "title": self.title, "fault": self.fault.value, **plain}

    @classmethod
    def from_json(cls, data: object) -> Verdict:
        """Read what `to_json` wrote.

        Raises:
            UserError: it is not a verdict, or one of another format.
        """
        from pydantic import ValidationError

        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            raise UserError(
                f"verdict: format is {found!r}, not {FORMAT}",
                hint="it was written by another version of farm; run the boot again",
            )
        try:
            return cast("Verdict", _adapter().validate_python(data))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"verdict: {where}: {first['msg']}") from error


@functools.cache
def _adapter() -> Any:  # noqa: ANN401 - pydantic is imported only where JSON is wanted
    from pydantic import TypeAdapter

    return TypeAdapter(Verdict)
