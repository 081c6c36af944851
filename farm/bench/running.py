# SPDX-License-Identifier: Apache-2.0
"""The bench as it runs: with the drivers that `farm bench up` filled in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farm.bench.up import bench_folder, bench_state
from farm.core.errors import BenchError
from farm.spec.bench import Bench, LoopbackHost
from farm.spec.load import load
from farm.spec.project import Project


@dataclass(frozen=True)
class RunningBench:
    """A bench that can be opened.

    Args:
        bench: every target with its drivers.
        folder: what `open_bench` is given as `state`.
        file: the file that describes it.
    """

    bench: Bench
    folder: Path
    file: Path


def running_bench(project: Project, given: Path | None) -> RunningBench:
    """Return the bench of a file, as it runs.

    Args:
        given: the bench's file; None for the project's.

    Raises:
        UserError: there is no such file, or it has problems.
        BenchError: it has virtual hosts, and they are not up.
    """
    file = project.bench_file(given)
    bench = load(file, Bench)
    if not any(isinstance(host, LoopbackHost) for host in bench.hosts.values()):
        return RunningBench(bench, bench_folder(bench, file), file)
    state = bench_state(bench, file)
    if state.word != "up":
        why = f": {state.why}" if state.why else ""
        raise BenchError(
            f"bench {bench.name} ({file}) is {state.word}{why}",
            hint="farm bench up" + (f" --bench {given}" if given else ""),
        )
    return RunningBench(load(state.file, Bench), bench_folder(bench, file), file)
