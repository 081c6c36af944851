# SPDX-License-Identifier: Apache-2.0
"""Where farm keeps things outside a project, by the XDG base directory specification.

Source: https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from farm.core.errors import UserError


def cache_dir() -> Path:
    """What can be made again: packages, indexes, the store. `FARM_CACHE` overrides.

    Raises:
        UserError: it cannot be written.
    """
    return _place("FARM_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """What lasts: benches, their logs, results. `FARM_STATE` overrides.

    Raises:
        UserError: it cannot be written.
    """
    return _place("FARM_STATE", "XDG_STATE_HOME", ".local/state")


def socket_dir(owner: Path) -> Path:
    """A short, private folder for the sockets of `owner` (a socket's path has 107 bytes).

    In `XDG_RUNTIME_DIR` where that is this user's own (after `su` it may be another's), else
    among the temporary files. So another session may get another place: whoever has to find a
    socket again writes its path down.

    Raises:
        UserError: somebody else owns the place, or it cannot be made.
    """
    runtime = _runtime_dir()
    root = runtime / "farm" if runtime else Path(tempfile.gettempdir()) / f"farm-{os.getuid()}"
    folder = root / hashlib.sha256(str(owner.resolve()).encode()).hexdigest()[:12]
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(root):
            raise UserError(f"{root}: is not a private folder of this user", hint="remove it")
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{root}: no folder for sockets can be made there: {error.strerror or error}",
            hint="choose another place by TMPDIR",
        ) from error
    return folder


def _runtime_dir() -> Path | None:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    # As the specification has it: absolute, there, and nobody else's.
    return Path(given) if given.startswith("/") and _is_private(Path(given)) else None


def _is_private(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    mine = status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)
    return mine and not status.st_mode & 0o077


def _place(variable: str, xdg: str, default: str) -> Path:
    if own := os.environ.get(variable):
        place = Path(own).expanduser().absolute()
    else:
        base = os.environ.get(xdg)
        place = (Path(base) if base else Path.home() / default) / "farm"
    there = next(path for path in (place, *place.parents) if _exists(path))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise UserError(
            f"{place}: farm cannot write there",
            hint=f"{variable}=FOLDER names another place",
        )
    return place


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        # A folder above it is not ours to look into: that one is judged.
        return False
