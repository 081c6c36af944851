# SPDX-License-Identifier: Apache-2.0
"""`farm build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.options import (
    BoardName,
    Json,
    Mirror,
    Out,
    Suite,
    Update,
    archive_settings,
    get_reporter,
)

if TYPE_CHECKING:
    from farm.build import BuildRecord, Built
    from farm.core.progress import Reporter

Assembly = Annotated[Path, typer.Argument(help="The assembly's YAML file.", show_default=False)]


def build(
    assembly: Assembly,
    board: BoardName,
    out: Out = Path("out"),
    mirror: Mirror = None,
    suite: Suite = None,
    update: Update = False,
    json: Json = False,
) -> None:
    """Build an assembly for a board: an SD image, the same bytes on every machine."""
    built = build_image(assembly, board, out, mirror, suite, update, get_reporter())
    if json:
        print(built.record.model_dump_json(indent=2))
    else:
        print(describe(built.record))
        print(built.image)


def build_image(
    assembly: Path,
    board: str,
    out: Path,
    mirror: str | None,
    suite: str | None,
    update: bool,
    reporter: Reporter,
) -> Built:
    """Build from what was typed; shared by the commands that build before they go on."""
    from farm.build import build as build_assembly
    from farm.oci.store import Store
    from farm.spec.project import Project

    project = Project.find()
    return build_assembly(
        project,
        project.assembly_file(assembly),
        board,
        out=out,
        store=Store(),
        settings=archive_settings(mirror, suite, update),
        reporter=reporter,
    )


def describe(record: BuildRecord) -> str:
    """The image's parts with their sizes, the largest first, for a person."""
    width = max(len(part.name) for part in record.parts)
    rows = sorted(record.parts, key=lambda part: -part.bytes)
    lines = [f"  {part.name:<{width}}  {part.bytes / 1e6:8.2f} MB" for part in rows]
    total = sum(part.bytes for part in record.parts)
    lines.append(f"  {'in all':<{width}}  {total / 1e6:8.2f} MB")
    lines.append(f"{record.name} for {record.board}: {record.digest}")
    return "\n".join(lines)
