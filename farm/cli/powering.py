# SPDX-License-Identifier: Apache-2.0
"""`farm power`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from farm.cli.options import BenchFile


class Switch(StrEnum):
    """What to do with a supply."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"


def power(
    switch: Annotated[Switch, typer.Argument(help="on, off or cycle.", show_default=False)],
    target: Annotated[str, typer.Argument(help="The target's name.", show_default=False)],
    bench: BenchFile = None,
) -> None:
    """Switch a target that nobody uses; `farm console` then talks to it."""
    import anyio

    from farm.runs.powering import switch_power

    print(f"{target} is {anyio.run(switch_power, target, switch.value, bench)}")
