# SPDX-License-Identifier: Apache-2.0
"""A boot's timeline as bars, for a picture: what took how long since power-on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farm.smoke.verdict import Mark, Stage, Verdict

MAX_BARS = 60


@dataclass(frozen=True)
class Bar:
    """One thing and its time.

    Args:
        label: its name.
        kind: `stage`, `onboot`, `service`, or `bad` for what did not end well.
        begin_s: seconds since power-on.
        end_s: the same.
    """

    label: str
    kind: str
    begin_s: float
    end_s: float


def bars(verdict: Verdict) -> tuple[Bar, ...]:
    """Return the bars of a verdict in the order in which they begin, at most 60."""
    every = [*_stages(verdict.marks, verdict.duration_s), *_containers(verdict)]
    every.sort(key=lambda bar: (bar.begin_s, -bar.end_s))
    return tuple(every[:MAX_BARS])


def ticks(duration_s: float) -> tuple[float, ...]:
    """Return round numbers of seconds for an axis from 0 to `duration_s`, six at most."""
    step = 0.1
    for factor in (2, 2.5, 2) * 8:
        if duration_s / step <= 6:
            break
        step *= factor
    return tuple(round(at * step, 3) for at in range(int(duration_s / step) + 1))


_STAGE_LABELS = {
    Stage.POWER: "power to firmware",
    Stage.FIRMWARE: "firmware",
    Stage.KERNEL: "kernel",
    Stage.INIT: "init",
    Stage.COMPLETE: "settling",
}


def _stages(marks: Sequence[Mark], duration_s: float) -> Iterator[Bar]:
    shown = [mark for mark in marks if mark.stage in _STAGE_LABELS]
    for at, mark in enumerate(shown):
        end_s = shown[at + 1].at_s if at + 1 < len(shown) else duration_s
        label = _STAGE_LABELS[mark.stage]
        yield Bar(label, "stage", mark.at_s, max(mark.at_s, end_s))


def _containers(verdict: Verdict) -> Iterator[Bar]:
    """Bars by when the events were read: the guest's clock runs otherwise than the target's."""
    begun: dict[tuple[str, str], float] = {}
    for event, at_s in zip(verdict.timeline, verdict.arrivals, strict=False):
        kind, _, what = event.name.partition("-")
        name = event.fields.get("name", "")
        if kind not in ("onboot", "service"):
            continue
        if what == "begin":
            begun[kind, name] = at_s
        elif (begin_s := begun.pop((kind, name), None)) is not None:
            good = what == "up" or (what == "end" and event.fields.get("rc") == "0")
            yield Bar(f"{kind} {name}", kind if good else "bad", begin_s, at_s)
    for (kind, name), begin_s in begun.items():
        yield Bar(f"{kind} {name}", "bad", begin_s, verdict.duration_s)
