# SPDX-License-Identifier: Apache-2.0
"""Scratch that goes when its process is gone, also where that was killed."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

_NAME = re.compile(r"(?P<host>[^-]+)-(?P<pid>\d{1,10})-[^-]*")


def scratch_prefix(prefix: str) -> str:
    """Return what the name of this process's scratch begins with, for `tempfile`.

    Args:
        prefix: tells what it is for; `remove_left_scratch` finds it by that.
    """
    return f"{prefix}{_host()}-{os.getpid()}-"


def remove_left_scratch(folder: Path, prefix: str) -> None:
    """Remove what processes of this machine left in a folder when they were killed.

    Args:
        folder: where the scratch is; it may be absent.
        prefix: as in `scratch_prefix`.
    """
    try:
        paths = [path for path in folder.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return
    for path in paths:
        found = _NAME.fullmatch(path.name.removeprefix(prefix))
        # Another machine may share the folder: what runs there is not known here.
        if found is None or found["host"] != _host() or Path("/proc", found["pid"]).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _host() -> str:
    """This machine's name, without what separates the parts of a name."""
    return socket.gethostname().replace("-", "_").replace("/", "_")[:64]
