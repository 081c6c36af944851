# SPDX-License-Identifier: Apache-2.0
"""A run in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from farm.core.run import paste
from farm.runs.picture import bars
from farm.runs.result import RunResult
from farm.smoke.verdict import Fault, Verdict

_WIDTH = 40
_BLAME = {
    Fault.NONE: "",
    Fault.IMAGE: "the image failed",
    Fault.BENCH: "trouble of the bench, not held against the image",
}


def describe(result: RunResult) -> str:
    """Return a run's verdict as text: what, why, the timeline, where the rest is."""
    return "\n".join(_lines(result))


def explain(verdict: Verdict) -> str:
    """Return why a verdict is what it is, as text: for a failed test."""
    return "\n".join((f"{verdict.title}: {verdict.summary}", *_why(verdict)))


def _lines(result: RunResult) -> Iterator[str]:
    verdict = result.verdict
    what = result.assembly or result.image
    yield f"{verdict.title.upper()}: {what} on {result.board} (target {result.target})"
    yield f"  {verdict.summary}"
    if result.flashed is not None:
        done = result.flashed
        yield (
            f"  flashed in {done.seconds:.1f} s: {done.written_blocks} blocks written, "
            f"{done.same_blocks} the same, {done.sent_bytes / 1e6:.1f} MB sent"
        )
    yield from _timeline(verdict)
    yield from _why(verdict)
    yield f"  report: {result.folder / 'report.html'}"
    yield f"  again: {paste(result.command)}"


def _why(verdict: Verdict) -> Iterator[str]:
    blame = _BLAME[verdict.fault]
    yield f"  stage {verdict.stage} after {verdict.duration_s:.1f} s" + (
        f"; {blame}" if blame else ""
    )
    for one in verdict.skipped:
        yield f"  not exercised: {one.kind} {one.name} (needs {one.need})"
    for text in verdict.warnings:
        yield f"  warning: {text}"
    if verdict.cause_lines:
        yield "  the cause's lines:"
        yield from (f"    | {line}" for line in verdict.cause_lines)
    elif not verdict.passed and verdict.last_lines:
        yield "  the last lines:"
        yield from (f"    | {line}" for line in verdict.last_lines)
    if verdict.next_step:
        yield f"  next step: {verdict.next_step}"


def _timeline(verdict: Verdict) -> Iterator[str]:
    span_s = max(verdict.duration_s, 0.001)
    for bar in bars(verdict):
        begin = min(_WIDTH - 1, max(0, round(_WIDTH * bar.begin_s / span_s)))
        end = min(_WIDTH, max(begin + 1, round(_WIDTH * bar.end_s / span_s)))
        drawn = " " * begin + ("x" if bar.kind == "bad" else "=") * (end - begin)
        yield (
            f"  {bar.begin_s:7.2f} s {drawn:<{_WIDTH}} {bar.label} "
            f"({bar.end_s - bar.begin_s:.2f} s)"
        )
