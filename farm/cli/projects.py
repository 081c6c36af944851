# SPDX-License-Identifier: Apache-2.0
"""`farm init` and `farm schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli.options import print_json


def init(folder: Annotated[Path, typer.Argument(help="The project's folder, made here.")]) -> None:
    """Make a project: an assembly, a bench, a test suite, all commented."""
    from farm.spec.starter import create_project

    for path in create_project(folder):
        print(path)
    print(f"\nnow: cd {folder} && farm bench up && farm flash --board rpi4 assemblies/my.yml")


def schema(
    kind: Annotated[str, typer.Argument(help="assembly, board, kernel, component or bench.")],
) -> None:
    """Print the JSON Schema of a kind of file, for editors."""
    from farm.spec.schema import json_schema

    print_json(json_schema(kind))
