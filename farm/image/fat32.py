# SPDX-License-Identifier: Apache-2.0
"""The structures of a FAT32 volume: boot sectors, allocation table, folders.

The volume's data begins at a fixed place of the card, whatever the size: the reserved sectors
before the tables take up the difference. So a card that grows moves no file.

Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03. FAT32 needs 65,525 clusters;
readers disagree near the limit, so a few hundred more are asked for.
"""

from __future__ import annotations

import struct
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from farm.firmware.fat_names import long_entries, make_short
from farm.firmware.mbr import SECTOR
from farm.image.slots import BLOCK, step

PARTITION_START = 4 * 1024 * 1024
DATA_START = 8 * 1024 * 1024
ROOT_CLUSTER = 2
END = 0x0FFFFFFF
MAX_DATA = 2 * 1024**3
_MIN_DATA = 72 * 1024 * 1024
_LEAST_CLUSTERS = 66_000
_BACKUP = 6
_FILE, _FOLDER, _LABEL = 0x20, 0x10, 0x08


@dataclass(frozen=True)
class Volume:
    """The numbers of one volume; offsets are bytes from the card's beginning."""

    cluster_bytes: int
    clusters: int
    table_sectors: int
    volume_id: int
    label: bytes

    @classmethod
    def for_data(cls, used_bytes: int, volume_id: int, label: bytes) -> Volume:
        """The volume for so many bytes of slots.

        Raises:
            ValueError: they are more than `MAX_DATA`.
        """
        data = max(_MIN_DATA, step(used_bytes))
        if data > MAX_DATA:
            raise ValueError(f"{used_bytes} bytes of files, more than {MAX_DATA}")
        cluster = 4096 if data // 4096 >= _LEAST_CLUSTERS else 1024
        clusters = data // cluster
        table = -(-(clusters + 2) * 4 // BLOCK) * BLOCK
        return cls(cluster, clusters, table // SECTOR, volume_id, label)

    @property
    def data_bytes(self) -> int:
        """Bytes of all clusters."""
        return self.clusters * self.cluster_bytes

    @property
    def table_offsets(self) -> tuple[int, int]:
        """Where the two allocation tables begin."""
        size = self.table_sectors * SECTOR
        return DATA_START - 2 * size, DATA_START - size

    @property
    def reserved_sectors(self) -> int:
        """Sectors before the first table."""
        return (self.table_offsets[0] - PARTITION_START) // SECTOR

    @property
    def sectors(self) -> int:
        """Sectors of the whole partition."""
        return (DATA_START - PARTITION_START + self.data_bytes) // SECTOR

    def cluster_at(self, data_offset: int) -> int:
        """The cluster that begins so many bytes into the data."""
        return ROOT_CLUSTER + data_offset // self.cluster_bytes

    def clusters_for(self, size: int) -> int:
        """How many clusters so many bytes need."""
        return -(-size // self.cluster_bytes)


def boot_sectors(volume: Volume, free: int, next_free: int) -> bytes:
    """Return the first eight sectors: boot, FSInfo, and their copies at six and seven."""
    boot = bytearray(SECTOR)
    struct.pack_into(
        "<3s8sHBHBHHBHHHII",
        boot,
        0,
        b"\xeb\x58\x90",
        b"farm    ",
        SECTOR,
        volume.cluster_bytes // SECTOR,
        volume.reserved_sectors,
        2,
        0,
        0,
        0xF8,
        0,
        63,
        255,
        PARTITION_START // SECTOR,
        volume.sectors,
    )
    struct.pack_into("<IHHIHH", boot, 36, volume.table_sectors, 0, 0, ROOT_CLUSTER, 1, _BACKUP)
    struct.pack_into(
        "<BBBI11s8s", boot, 64, 0x80, 0, 0x29, volume.volume_id, volume.label, b"FAT32   "
    )
    boot[510:] = b"\x55\xaa"
    info = bytearray(SECTOR)
    info[0:4] = b"RRaA"
    struct.pack_into("<4sII", info, 484, b"rrAa", free, next_free)
    info[508:] = b"\0\0\x55\xaa"
    pair = bytes(boot) + bytes(info)
    return pair + bytes((_BACKUP - 2) * SECTOR) + pair


def allocation_table(volume: Volume, chains: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """Return one allocation table.

    Args:
        chains: for each file its runs, as (first cluster, how many).
    """
    table = array("I", bytes(volume.table_sectors * SECTOR))
    table[0], table[1] = 0x0FFFFFF8, END
    for runs in chains:
        for (first, count), following in zip(runs, [*runs[1:], None], strict=True):
            table[first : first + count] = array("I", range(first + 1, first + count + 1))
            table[first + count - 1] = END if following is None else following[0]
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        table.byteswap()
    return table.tobytes()


@dataclass(frozen=True)
class FolderItem:
    """What a folder lists: a name, and where its clusters begin (0 where it has none)."""

    name: str
    first_cluster: int
    size: int
    is_folder: bool = False


def folder_bytes(
    items: Sequence[FolderItem], *, at_s: int, label: bytes | None, own: int, parent: int
) -> bytes:
    """Return a folder's entries.

    Args:
        at_s: the time of everything, in seconds since 1970.
        label: the volume's label, in the root folder only.
        own: the folder's own first cluster.
        parent: its parent's, or 0 where that is the root.
    """
    when = _time(at_s)
    data = bytearray()
    if label is not None:
        data += _entry(label, _LABEL, 0, 0, when)
    else:
        data += _entry(b".".ljust(11), _FOLDER, own, 0, when)
        data += _entry(b"..".ljust(11), _FOLDER, parent, 0, when)
    taken: set[bytes] = set()
    for item in items:
        short = make_short(item.name, taken)
        taken.add(short)
        data += long_entries(item.name, short)
        kind = _FOLDER if item.is_folder else _FILE
        data += _entry(short, kind, item.first_cluster, item.size, when)
    return bytes(data)


def _entry(short: bytes, attributes: int, cluster: int, size: int, when: tuple[int, int]) -> bytes:
    clock, day = when
    return struct.pack(
        "<11sBBBHHHHHHHI",
        short,
        attributes,
        0,
        0,
        clock,
        day,
        day,
        cluster >> 16,
        clock,
        day,
        cluster & 0xFFFF,
        size,
    )


def _time(at_s: int) -> tuple[int, int]:
    t = time.gmtime(at_s)
    if t.tm_year < 1980:
        return 0, (1 << 5) | 1
    clock = t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2
    return clock, min(t.tm_year - 1980, 127) << 9 | t.tm_mon << 5 | t.tm_mday
