# SPDX-License-Identifier: Apache-2.0
"""The folders that a list of paths needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from farm.core.errors import UserError
from farm.firmware.fat_names import ENTRY, is_allowed


@dataclass
class Folder:
    """A folder and what is in it, in the order in which it was named.

    Args:
        index: its place in the list of all folders; 0 is the root.
        parent: its parent's place.
        folders: name → place in the list.
        files: name → place in the list of files.
    """

    index: int
    parent: int
    folders: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    @property
    def most_bytes(self) -> int:
        """An upper bound of its size: the label or two dots, and each name at its longest."""
        names = (*self.folders, *self.files)
        return ENTRY * (2 + sum(1 + -(-len(name.encode("utf-16-le")) // 26) for name in names))


def make_folders(paths: Sequence[str]) -> tuple[Folder, ...]:
    """Return all folders for these files, the root first.

    Raises:
        UserError: a name cannot be on a FAT volume, or two differ in case only.
    """
    folders = [Folder(0, 0)]
    seen: dict[str, str] = {}

    def claim(path: str, kind: str) -> None:
        name = path.rpartition("/")[2]
        if not is_allowed(name):
            raise UserError(f"{path}: {name!r} cannot be a name on a FAT partition")
        if seen.setdefault(path.upper(), f"{kind} {path}") != f"{kind} {path}":
            raise UserError(f"{path}: stands twice (FAT does not tell cases apart)")

    for number, path in enumerate(paths):
        at = folders[0]
        *above, name = path.split("/")
        for depth, part in enumerate(above, 1):
            claim("/".join(above[:depth]), "folder")
            if part not in at.folders:
                at.folders[part] = len(folders)
                folders.append(Folder(len(folders), at.index))
            at = folders[at.folders[part]]
        claim(path, "file")
        if name in at.files:
            raise UserError(f"{path}: stands twice")
        at.files[name] = number
    return tuple(folders)
