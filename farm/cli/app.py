# SPDX-License-Identifier: Apache-2.0
"""The commands, put together. What a command needs beyond Typer it imports when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from farm import __version__
from farm.cli import benching, building, cards, doctoring, flashing, powering, projects
from farm.cli.errors import guarded

app = typer.Typer(
    name="farm",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"farm {__version__}")
        raise typer.Exit


@app.callback()
def farm(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Small Linux systems, from one YAML file to a verdict on a board."""


app.command()(guarded(projects.init))
app.command()(guarded(building.build))
app.command()(guarded(flashing.flash))
app.command()(guarded(flashing.boot))
app.command()(guarded(powering.power))
app.command()(guarded(benching.console))
app.add_typer(benching.bench, name="bench")
app.add_typer(cards.card, name="card")
app.command()(guarded(doctoring.doctor))
app.command()(guarded(projects.schema))
