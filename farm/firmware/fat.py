# SPDX-License-Identifier: Apache-2.0
"""Folders and files of a FAT12, FAT16 or FAT32 volume, for reading.

A volume is hostile until proven sound: sizes, chains, folders and their number are bounded, and
two files that share a cluster are an error. Names are matched without regard to case, by the long
name or the 8.3 one, as every FAT driver does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from farm.firmware.card import Card, CardError, printable
from farm.firmware.fat_names import ENTRY, LONG_NAME, LongName, short_text
from farm.firmware.fat_table import ClusterTable, Geometry, Run, read_geometry
from farm.firmware.mbr import Partition, check_fits

MAX_FOLDER_BYTES = 65536 * ENTRY
"""A folder has at most 65,536 entries by the specification."""
MAX_WALKED = 100_000
MAX_DEPTH = 32
_FOLDER = 0x10
_VOLUME_LABEL = 0x08


@dataclass(frozen=True)
class FatEntry:
    """A file or folder.

    Args:
        path: from the volume's root, beginning with a slash.
        short_name: the 8.3 name.
    """

    path: str
    name: str
    short_name: str
    is_folder: bool
    size_bytes: int
    first_cluster: int


class FatVolume:
    """A mounted volume; it keeps what it has read of folders, and who owns which cluster."""

    def __init__(self, card: Card, partition: Partition) -> None:
        """Read the boot sector.

        Raises:
            CardError: the partition is not on the card, or holds no sound FAT volume.
        """
        check_fits(card, partition)
        self.geometry: Geometry = read_geometry(card, partition)
        self.label = self.geometry.label
        self._card = card
        self._table = ClusterTable(card, self.geometry)
        self._folders: dict[str, tuple[FatEntry, ...]] = {}
        self._files: dict[str, tuple[Run, ...]] = {}

    def find(self, path: str) -> FatEntry | None:
        """Return the file or folder at `path`, or None.

        Raises:
            CardError: a folder on the way is damaged.
        """
        at: FatEntry | None = None
        for name in (part for part in path.split("/") if part and part != "."):
            if at is not None and not at.is_folder:
                return None
            wanted = name.upper()
            at = next(
                (
                    entry
                    for entry in self.list(at)
                    if wanted in (entry.name.upper(), entry.short_name.upper())
                ),
                None,
            )
            if at is None:
                return None
        return at

    def list(self, folder: FatEntry | None = None) -> tuple[FatEntry, ...]:
        """Return what a folder holds, in its order; None is the root.

        Raises:
            CardError: the folder is damaged or has too many entries.
        """
        path = folder.path if folder else ""
        if path not in self._folders:
            self._folders[path] = tuple(self._entries(path, self._folder_bytes(folder)))
        return self._folders[path]

    def read(self, entry: FatEntry, *, limit_bytes: int) -> bytes:
        """Return a file's bytes.

        Raises:
            CardError: it is a folder, longer than `limit_bytes` or the card, or damaged.
        """
        where = f"{self.geometry.name}: {printable(entry.path)}"
        if entry.is_folder:
            raise CardError(f"{where}: a folder, not a file")
        size, cluster_bytes = entry.size_bytes, self.geometry.cluster_bytes
        if size > self.geometry.clusters * cluster_bytes:
            raise CardError(f"{where}: {size} bytes, more than the whole volume holds")
        if size > limit_bytes:
            raise CardError(f"{where}: {size} bytes, more than the {limit_bytes} that may be read")
        if size == 0:
            return b""
        parts, left = [], size
        for start, count in self.runs(entry):
            take = min(left, count * cluster_bytes)
            parts.append(self._card.read(self._offset(start), take, where))
            left -= take
        return b"".join(parts)

    def runs(self, entry: FatEntry) -> tuple[Run, ...]:
        """Return a file's clusters.

        Raises:
            CardError: the chain is damaged or does not fit the size.
        """
        if entry.is_folder or entry.size_bytes == 0:
            return ()
        if entry.path not in self._files:
            needed = -(-entry.size_bytes // self.geometry.cluster_bytes)
            if needed > self.geometry.clusters:
                raise CardError(
                    f"{self.geometry.name}: {printable(entry.path)}: {entry.size_bytes} bytes, "
                    "more than the whole volume holds"
                )
            self._files[entry.path] = self._table.chain(
                entry.first_cluster, printable(entry.path), most=needed, exact=True
            )
        return self._files[entry.path]

    def walk(self) -> Iterator[FatEntry]:
        """Give every file and folder, folders first, then what is in them.

        Raises:
            CardError: a folder is damaged, or there are more than can be looked at.
        """
        pending: list[tuple[FatEntry | None, int]] = [(None, 0)]
        seen = 0
        while pending:
            folder, depth = pending.pop()
            if depth > MAX_DEPTH:
                raise CardError(
                    f"{self.geometry.name}: {printable(folder.path if folder else '')}: "
                    f"folders more than {MAX_DEPTH} deep"
                )
            entries = self.list(folder)
            seen += len(entries)
            if seen > MAX_WALKED:
                raise CardError(f"{self.geometry.name}: more than {MAX_WALKED} files and folders")
            yield from entries
            pending.extend((entry, depth + 1) for entry in reversed(entries) if entry.is_folder)

    def _folder_bytes(self, folder: FatEntry | None) -> bytes:
        geometry = self.geometry
        name = printable(folder.path) if folder else "/"
        where = f"{geometry.name}: {name}"
        if folder is None and geometry.kind != "FAT32":
            return self._card.read(geometry.root_offset, geometry.root_entries * ENTRY, where)
        first = folder.first_cluster if folder else geometry.root_cluster
        most = max(1, MAX_FOLDER_BYTES // geometry.cluster_bytes)
        try:
            runs = self._table.chain(first, name, most=most, exact=False)
        except CardError as error:
            if f"more than {most} clusters" in error.message:
                raise CardError(f"{where}: a folder of more than 65536 entries") from error
            raise
        return b"".join(
            self._card.read(self._offset(start), count * geometry.cluster_bytes, where)
            for start, count in runs
        )

    def _entries(self, path: str, data: bytes) -> Iterator[FatEntry]:
        long_name = LongName()
        for at in range(0, len(data) - ENTRY + 1, ENTRY):
            raw = data[at : at + ENTRY]
            if raw[0] == 0:
                return
            attributes = raw[11]
            if raw[0] == 0xE5:
                continue
            if attributes & 0x3F == LONG_NAME:
                long_name.add(raw)
                continue
            short = raw[:11]
            name = long_name.take(short)
            if attributes & _VOLUME_LABEL:
                if not path:
                    self.label = short.decode("cp437").rstrip()
                continue
            if short in (b".          ", b"..         "):
                continue
            high, low, size = (
                *struct.unpack_from("<H", raw, 20),
                *struct.unpack_from("<HI", raw, 26),
            )
            text = name or short_text(short, raw[12])
            if "/" in text:
                continue  # no path can name it
            yield FatEntry(
                path=f"{path}/{text}",
                name=text,
                short_name=short_text(short),
                is_folder=bool(attributes & _FOLDER),
                size_bytes=size,
                first_cluster=low | (high << 16 if self.geometry.kind == "FAT32" else 0),
            )

    def _offset(self, cluster: int) -> int:
        return self.geometry.data_offset + (cluster - 2) * self.geometry.cluster_bytes
