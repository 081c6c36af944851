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
    """What can be made again: packages, indexes, the store. `FARM_CACHE` overrides."""
    return _place("FARM_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """What lasts: benches, their logs, results. `FARM_STATE` overrides."""
    return _place("FARM_STATE", "XDG_STATE_HOME", ".local/state")


def socket_dir(owner: Path) -> Path:
    """A short, private folder for the sockets of `owner` (a socket's path has 107 bytes).

    Raises:
        UserError: somebody else owns the place.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    root = Path(base) / "farm" if base else Path(tempfile.gettempdir()) / f"farm-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise UserError(f"{root}: is not a private folder of this user", hint="remove it")
    folder = root / hashlib.sha256(str(owner.resolve()).encode()).hexdigest()[:12]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _place(variable: str, xdg: str, default: str) -> Path:
    if own := os.environ.get(variable):
        return Path(own).expanduser().absolute()
    base = os.environ.get(xdg)
    return (Path(base) if base else Path.home() / default) / "farm"
