# SPDX-License-Identifier: Apache-2.0
"""`farm doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli.options import Json, print_json


def doctor(
    json: Json = False,
    packages: Annotated[
        bool,
        typer.Option(
            "--packages", help="Print only the Debian packages that are missing, for scripts."
        ),
    ] = False,
) -> None:
    """Say what is installed, in which versions, and how to get what is missing."""
    from farm.core.doctor import examine
    from farm.core.errors import ExitCode

    report = examine()
    if packages:
        print(*report.missing_packages, sep="\n")
        return
    if json:
        print_json(report.to_json())
    else:
        print(report.to_text())
    raise typer.Exit(ExitCode.OK if report.ready else ExitCode.FAILED)
