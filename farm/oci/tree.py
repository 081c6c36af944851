# SPDX-License-Identifier: Apache-2.0
"""A file tree as a value: what image layers are read to, and what archives are written from.

A tree owns no bytes that lie on the disk already: a file's data is a `Slice` of the archive or
file that holds it, and is read when it is written somewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from farm.core.errors import BuildError, UserError

EPOCH = 1735689600
"""2025-01-01T00:00:00Z: the time of everything in images, unless SOURCE_DATE_EPOCH says else."""

MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255


def epoch() -> int:
    """Return the time that everything in an image gets, in seconds since 1970.

    Source: https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        UserError: SOURCE_DATE_EPOCH is not a time that a 32-bit file format can hold.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return EPOCH
    if not (given.isascii() and given.isdigit()) or int(given) > 0xFFFFFFFF:
        raise UserError(
            f"SOURCE_DATE_EPOCH={given!r}: not a time",
            hint="give seconds since 1970 as a decimal number, or unset it",
        )
    return int(given)


class Kind(StrEnum):
    """What an entry is. Hard links are resolved to files when they are read."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    CHAR = "char"
    BLOCK = "block"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes inside a file of the disk.

    Args:
        path: the file.
        offset: where they begin, in bytes.
        size: how many they are.
    """

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            BuildError: the file is gone, or shorter than it was.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), self.size, self.offset)
                while len(data) < self.size:
                    more = os.pread(file.fileno(), self.size - len(data), self.offset + len(data))
                    if not more:
                        raise BuildError(
                            f"{self.path}: shorter than it was: {self.offset + self.size} bytes"
                            " are needed",
                            hint="remove it from the cache and build again",
                        )
                    data += more
        except OSError as error:
            raise BuildError(
                f"{self.path}: cannot be read: {error.strerror}",
                hint="was the cache emptied while farm ran? build again",
            ) from error
        return data


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree.

    Args:
        path: relative to the tree's root, no leading '/', no '.', no '..'.
        kind: what it is.
        mode: permission bits, with set-uid, set-gid and sticky.
        uid: owner.
        gid: group.
        target: where a symbolic link points, as it is written in the link.
        rdev: major and minor number of a device.
        data: a file's bytes, or where they lie.
    """

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    rdev: tuple[int, int] = (0, 0)
    data: bytes | Slice = b""

    def read(self) -> bytes:
        """Return a file's bytes; nothing for another kind."""
        return self.data if isinstance(self.data, bytes) else self.data.read()

    @property
    def size(self) -> int:
        """Size of a file's data, in bytes."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.size


Tree: TypeAlias = tuple[Entry, ...]
"""Entries sorted by path, parents before children, one a path; made by `make_tree`."""


def make_tree(entries: Iterable[Entry]) -> Tree:
    """Make a tree: sorted, with every parent folder (those missing get mode 0755, root's).

    Raises:
        UserError: a path is unsafe, lies below something that is no folder, or is given twice
            with different contents.
    """
    by_path: dict[str, Entry] = {}
    for entry in entries:
        check_path(entry.path)
        there = by_path.setdefault(entry.path, entry)
        if there is not entry and not _same(there, entry):
            raise UserError(
                f"{entry.path}: given twice, with different contents",
                hint="take one of them out, or put it at another path",
            )
    for path in tuple(by_path):
        _add_parents(path, by_path)
    return tuple(by_path[path] for path in sorted(by_path))


def under(tree: Tree, prefix: str) -> Tree:
    """Return the tree moved below the folder `prefix`, which is made, with its parents.

    Raises:
        UserError: the prefix is unsafe, or a path becomes too long.
    """
    check_path(prefix)
    return make_tree(
        [
            Entry(prefix, Kind.FOLDER, 0o755),
            *(replace(entry, path=f"{prefix}/{entry.path}") for entry in tree),
        ]
    )


def check_path(path: str) -> None:
    """Check that a path names something inside a tree.

    Raises:
        UserError: it is absolute, empty, not normal, too long, or leads out of the tree.
    """
    names = path.split("/")
    if path.startswith("/") or ".." in names or "\0" in path:
        raise UserError(f"{path!r}: leads out of the file tree")
    if "" in names or "." in names:
        raise UserError(f"{path!r}: not a normal path of a file tree")
    if len(os.fsencode(path)) > MAX_PATH_BYTES or any(
        len(os.fsencode(name)) > MAX_NAME_BYTES for name in names
    ):
        raise UserError(f"{path[:60]!r}…: longer than a path may be")


def _add_parents(path: str, by_path: dict[str, Entry]) -> None:
    parent = path
    while "/" in parent:
        parent = parent.rpartition("/")[0]
        there = by_path.get(parent)
        if there is None:
            by_path[parent] = Entry(parent, Kind.FOLDER, 0o755)
        elif there.kind is not Kind.FOLDER:
            raise UserError(f"{path}: lies below {parent}, which is a {there.kind}, not a folder")
        else:
            return


def _same(one: Entry, other: Entry) -> bool:
    if one == other:
        return True
    return (
        replace(one, data=b"") == replace(other, data=b"")
        and one.size == other.size
        and one.read() == other.read()
    )
