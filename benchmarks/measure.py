# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: samples, their medians, and how a result is told."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm.core.errors import CheckError
from farm.core.run import run


@dataclass(frozen=True)
class Samples:
    """Measurements of one thing, in seconds."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        low, high = min(self.seconds), max(self.seconds)
        return (
            f"{self.name}: median {self.median:.3f} s"
            f" (n={len(self.seconds)}, {low:.3f} to {high:.3f})"
        )


@dataclass(frozen=True)
class Result:
    """One benchmark's outcome.

    Args:
        title: what was measured.
        what: how, in a sentence or two.
        samples: the measurements.
        figure: what they come to: a ratio or a time.
        unit: of the figure; empty for a ratio.
        goal: the most that the figure should be; None where there is no goal.
        notes: lines that explain the figure.
    """

    title: str
    what: str
    samples: tuple[Samples, ...]
    figure: float
    unit: str
    goal: float | None
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        figure = f"  = {self.figure:.3f}{unit}"
        if self.goal is not None:
            word = "met" if self.figure <= self.goal else "missed"
            figure += f"; goal at most {self.goal:.3f}{unit}: {word}"
        return "\n".join(
            (
                self.title,
                f"  {self.what}",
                *(f"  {samples}" for samples in self.samples),
                *(f"  {note}" for note in self.notes),
                figure,
            )
        )


def wall_s(argv: Sequence[str | Path], *, cwd: Path, cache: Path | None = None) -> float:
    """Run a program and return how long that took, in seconds of wall time.

    Args:
        argv: the program and its arguments.
        cwd: where it runs.
        cache: its FARM_CACHE; None means the user's own.

    Raises:
        CheckError: it failed.
    """
    env = {"FARM_CACHE": str(cache)} if cache else {}
    begin = time.perf_counter()
    run(argv, cwd=cwd, env=env, timeout_s=900, error=CheckError, what="a benchmark's program")
    return time.perf_counter() - begin


def interleaved(
    count: int, things: Sequence[tuple[str, Callable[[], float]]]
) -> tuple[Samples, ...]:
    """Measure several things in turn, `count` times each: a busy moment hits all of them.

    The first turn is thrown away: it fills the page cache.
    """
    turns = [[measure() for _, measure in things] for _ in range(count + 1)][1:]
    return tuple(
        Samples(name, tuple(turn[place] for turn in turns))
        for place, (name, _) in enumerate(things)
    )
