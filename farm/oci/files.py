# SPDX-License-Identifier: Apache-2.0
"""The `files:` of an assembly or a component as entries of a tree.

Source of the defaults: LinuxKit's docs/yaml.md: files have mode 0600, folders 0700; missing parent
folders follow the modes of what they hold, with the right to enter added to each right to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from farm.core.errors import UserError
from farm.oci.tree import Entry, Kind, Slice
from farm.spec.assembly import FileEntry

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def file_entries(files: Sequence[FileEntry], *, base: Path, where: str) -> tuple[Entry, ...]:
    """Return the entries that a list of files stands for, parent folders among them.

    Args:
        files: from an assembly or a component.
        base: the folder that relative sources start from; `~/` is the user's home.
        where: the file that lists them, for errors.

    Raises:
        UserError: a source cannot be read and is not optional.
    """
    entries = []
    for index, file in enumerate(files):
        entry = _entry(file, base, f"{where}: files[{index}]")
        if entry is not None:
            entries.append(entry)
    return (*_parents(entries), *entries)


def _entry(file: FileEntry, base: Path, where: str) -> Entry | None:
    path = file.path.strip("/")
    mode = int(file.mode, 8) if file.mode else FOLDER_MODE if file.directory else FILE_MODE
    if file.directory:
        return Entry(path, Kind.FOLDER, mode, file.uid, file.gid)
    if file.symlink is not None:
        return Entry(path, Kind.SYMLINK, 0o777, file.uid, file.gid, target=file.symlink)
    if file.contents is not None:
        data: bytes | Slice = file.contents.encode()
    elif file.source is not None:
        found = _source(base / Path(file.source).expanduser(), file, where)
        if found is None:
            return None
        data = found
    else:
        raise UserError(
            f"{where}: metadata: cannot be written into an image by this version of farm",
            hint="the build record beside the image says what it is made of",
        )
    return Entry(path, Kind.FILE, mode, file.uid, file.gid, data=data)


def _source(path: Path, file: FileEntry, where: str) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if file.optional:
            return None
        raise UserError(
            f"{where}: source {path}: {error.strerror}",
            hint="make the file, or say `optional: true` where it may be absent",
        ) from error


def _parents(entries: Iterable[Entry]) -> list[Entry]:
    modes: dict[str, int] = {}
    for entry in entries:
        parent = entry.path.rpartition("/")[0]
        readable = entry.mode & 0o666 if entry.kind is not Kind.SYMLINK else 0o644
        while parent:
            modes[parent] = modes.get(parent, 0) | readable | (readable & 0o444) >> 2
            parent = parent.rpartition("/")[0]
    own = {entry.path for entry in entries}
    # A secret in /etc must not shut /etc: folders of the first level stay open, as every
    # component expects them.
    return [
        Entry(path, Kind.FOLDER, mode | 0o700 if "/" in path else 0o755)
        for path, mode in modes.items()
        if path not in own
    ]
