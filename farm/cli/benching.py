# SPDX-License-Identifier: Apache-2.0
"""`farm bench` and `farm console`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.errors import guarded
from farm.cli.options import BenchFile, Json, get_reporter, print_json

if TYPE_CHECKING:
    from farm.spec.bench import Bench
    from farm.spec.project import Project

Force = Annotated[
    bool, typer.Option("--force", help="Even while somebody uses a target: their run fails.")
]
bench = typer.Typer(no_args_is_help=True, help="The lab: start, look at and stop a bench.")


@bench.command()
@guarded
def up(bench: BenchFile = None, force: Force = False) -> None:
    """Start what the bench needs on this machine: its host, its virtual boards."""
    from farm.bench.up import bench_up

    project, path, loaded = _load(bench)
    state = bench_up(loaded, path, project, get_reporter(), force=force)
    print(f"bench {state.name} is up: {', '.join(loaded.targets)}")


@bench.command()
@guarded
def down(bench: BenchFile = None, force: Force = False) -> None:
    """Stop the bench on this machine; nothing of it keeps running. Cards and logs are kept."""
    from farm.bench.up import bench_down

    _, path, loaded = _load(bench)
    bench_down(loaded, path, get_reporter(), force=force)


@bench.command()
@guarded
def status(bench: BenchFile = None, json: Json = False) -> None:
    """Show every target: its board, power, console, who holds it and who waits."""
    from dataclasses import asdict

    import anyio

    from farm.runs.status import status_of, to_text

    rows = anyio.run(status_of, bench)
    if json:
        print_json([asdict(row) for row in rows])
    else:
        print(to_text(rows))


@guarded
def console(
    target: Annotated[str, typer.Argument(help="The target's name.", show_default=False)],
    bench: BenchFile = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Only watch; nothing typed reaches the board.")
    ] = False,
) -> None:
    """Talk to a target's console; Ctrl-] leaves. Its log goes on being kept."""
    import anyio

    from farm.cli.terminal import talk

    anyio.run(talk, target, bench, watch)


def _load(given: Path | None) -> tuple[Project, Path, Bench]:
    from farm.spec.bench import Bench
    from farm.spec.load import load
    from farm.spec.project import Project

    project = Project.find()
    path = project.bench_file(given)
    return project, path, load(path, Bench)
