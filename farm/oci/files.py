# SPDX-License-Identifier: Apache-2.0
"""The `files:` of an assembly or a component as entries of a tree.

Source of the defaults: LinuxKit's docs/yaml.md: files have mode 0600, folders 0700; missing parent
folders follow the modes of what they hold, with the right to enter added to each right to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from farm.core.errors import UserError
from farm.oci.tree import Entry, Kind
from farm.spec.assembly import FileEntry

FILE_MODE = 0o600
FOLDER_MODE = 0o700

ReadSource: TypeAlias = Callable[[str], tuple[bytes, int] | None]
"""Reads a `source`: its bytes, and the mode where none is given; None where it may be absent."""


def file_entries(
    files: Sequence[FileEntry],
    *,
    base: Path,
    where: str,
    folders: Mapping[str, Entry] | None = None,
) -> tuple[Entry, ...]:
    """Return the entries that an assembly's list of files stands for, parent folders among them.

    Args:
        files: from an assembly.
        base: the folder that relative sources start from; `~/` is the user's home.
        where: the file that lists them, for errors.
        folders: those that are there already, by path: as parents they stay as they are.

    Raises:
        UserError: a source cannot be read and is not optional.
    """
    entries = []
    for index, file in enumerate(files):
        here = f"{where}: files[{index}]"
        entry = file_entry(
            file,
            file.path.strip("/"),
            where=here,
            folder_mode=FOLDER_MODE,
            file_mode=FILE_MODE,
            read=_reader(base, file, here),
        )
        if entry is not None:
            entries.append(entry)
    return (*_parents(entries, folders or {}), *entries)


def file_entry(
    file: FileEntry, path: str, *, where: str, folder_mode: int, file_mode: int, read: ReadSource
) -> Entry | None:
    """Return the entry that one of a list of files stands for.

    Args:
        file: of an assembly or a component.
        path: where it goes, relative to the root.
        where: the key that it stands under, for errors.
        folder_mode: of a folder, where none is given.
        file_mode: of a file with `contents`, where none is given.
        read: reads its `source`.

    Raises:
        UserError: it asks for `metadata`; or what `read` raises.
    """
    given = int(file.mode, 8) if file.mode else None
    if file.directory:
        mode = folder_mode if given is None else given
        return Entry(path, Kind.FOLDER, mode, file.uid, file.gid)
    if file.symlink is not None:
        return Entry(path, Kind.SYMLINK, 0o777, file.uid, file.gid, target=file.symlink)
    if file.contents is not None:
        data, mode = file.contents.encode(), file_mode
    elif file.source is not None:
        found = read(file.source)
        if found is None:
            return None
        data, mode = found
    else:
        raise UserError(
            f"{where}: metadata: cannot be written into an image by this version of farm",
            hint="the build record beside the image says what it is made of",
        )
    return Entry(path, Kind.FILE, mode if given is None else given, file.uid, file.gid, data=data)


def _reader(base: Path, file: FileEntry, where: str) -> ReadSource:
    def read(source: str) -> tuple[bytes, int] | None:
        path = base / Path(source).expanduser()
        try:
            return path.read_bytes(), FILE_MODE
        except OSError as error:
            if file.optional:
                return None
            raise UserError(
                f"{where}: source {path}: {error.strerror}",
                hint="make the file, or say `optional: true` where it may be absent",
            ) from error

    return read


def _parents(entries: Iterable[Entry], folders: Mapping[str, Entry]) -> list[Entry]:
    modes: dict[str, int] = {}
    for entry in entries:
        parent = entry.path.rpartition("/")[0]
        readable = entry.mode & 0o666 if entry.kind is not Kind.SYMLINK else 0o644
        while parent:
            modes[parent] = modes.get(parent, 0) | readable | (readable & 0o444) >> 2
            parent = parent.rpartition("/")[0]
    own = {entry.path for entry in entries}
    # A secret in /etc must not shut /etc: folders of the first level stay open, as every
    # component expects them. What unpacks the tree gives each folder the mode that it has in
    # here, so one that is there already is named again, as it was.
    return [
        folders.get(path) or Entry(path, Kind.FOLDER, mode | 0o700 if "/" in path else 0o755)
        for path, mode in modes.items()
        if path not in own
    ]
