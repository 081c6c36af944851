# SPDX-License-Identifier: Apache-2.0
"""`farm init`: a new project's folder, out of the template beside this file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from farm.core.errors import UserError

TEMPLATE = Path(__file__).parent / "template"
_SHOWN = 5


def create_project(folder: Path) -> tuple[Path, ...]:
    """Make a project's folder: an assembly, a component, a bench, a test suite, all commented.

    It appears whole or not at all: it is made beside its place and renamed.

    Args:
        folder: the place; absent, or an empty folder.

    Returns:
        The files that were made, sorted, as paths below `folder`.

    Raises:
        UserError: something is in the way there, or the place cannot be written.
    """
    place = folder.absolute()
    _refuse_what_is_in_the_way(folder, place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            files = _copy_template(beside)
            beside.chmod(0o755)
            _put_in_place(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made: {error.strerror or error}", hint="choose another place"
        ) from error
    return tuple(folder / file for file in files)


def _refuse_what_is_in_the_way(folder: Path, place: Path) -> None:
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise UserError(f"{folder}: there is a file of that name", hint="choose another name")
    try:
        inside = sorted(entry.name for entry in place.iterdir()) if place.exists() else []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if inside:
        more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
        raise UserError(
            f"{folder}: is not empty: {', '.join(inside[:_SHOWN])}{more}",
            hint="choose a new or an empty folder; nothing was changed",
        )


def _copy_template(to: Path) -> list[Path]:
    files = sorted(
        path.relative_to(TEMPLATE)
        for path in TEMPLATE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    for file in files:
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        # The bytes alone: an installed template may be read-only.
        (to / file).write_bytes((TEMPLATE / file).read_bytes())
    return files


def _put_in_place(beside: Path, place: Path) -> None:
    if not place.exists():
        beside.rename(place)
        return
    # An empty folder stays the same one, since it may be somebody's current folder.
    for entry in beside.iterdir():
        entry.rename(place / entry.name)
