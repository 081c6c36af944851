# SPDX-License-Identifier: Apache-2.0
"""A FAT volume's geometry and its table of clusters, read with suspicion.

Every number of the boot sector is checked against the partition, and every chain against the
volume: a chain that loops, leaves the volume, runs into a free cluster, or meets another file's
chain is an error that says whose chain it is and at which cluster.

Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03; ECMA-107.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from farm.firmware.card import Card, CardError
from farm.firmware.mbr import Partition

Kind = Literal["FAT12", "FAT16", "FAT32"]
Run = tuple[int, int]
"""First cluster, and how many follow one another."""

MAX_CLUSTER_BYTES = 256 * 1024
MAX_RUNS = 500_000
"""A file in more pieces than this is refused, so that a hostile table cannot eat the memory."""
_PAGE = 64 * 1024
_PAGES_KEPT = 64
_MOST = {"FAT12": 4084, "FAT16": 65524, "FAT32": 0x0FFFFFF5}


@dataclass(frozen=True)
class Geometry:
    """Where things lie on a FAT volume; offsets are bytes from the card's beginning."""

    kind: Kind
    name: str
    sector_bytes: int
    cluster_bytes: int
    clusters: int
    table_offset: int
    table_bytes: int
    tables: int
    root_offset: int
    root_entries: int
    root_cluster: int
    data_offset: int
    volume_id: int
    label: str
    oem: str

    @property
    def last_cluster(self) -> int:
        """The highest cluster number."""
        return self.clusters + 1


def read_geometry(card: Card, partition: Partition) -> Geometry:
    """Read and check a FAT volume's boot sector.

    Raises:
        CardError: it is no FAT volume, or its numbers contradict each other or the partition.
    """
    name = f"partition {partition.number}"
    boot = card.read(partition.offset, 512, f"{name}: boot sector")

    def need(fine: bool, what: str) -> None:
        if not fine:
            raise CardError(f"{name}: boot sector: {what}")

    need(any(boot), "empty: no filesystem")
    need(boot[510:] == b"\x55\xaa", "no FAT filesystem (the signature 55 aa is missing)")
    sector, per_cluster, reserved, tables, root_entries, total16, _, table16 = struct.unpack_from(
        "<HBHBHHBH", boot, 11
    )
    total32, table32 = struct.unpack_from("<II", boot, 32)
    need(sector in (512, 1024, 2048, 4096), f"no FAT filesystem (sectors of {sector} bytes)")
    need(
        per_cluster in (1, 2, 4, 8, 16, 32, 64, 128) and per_cluster * sector <= MAX_CLUSTER_BYTES,
        f"clusters of {per_cluster} sectors",
    )
    need(reserved >= 1, "no reserved sectors")
    need(1 <= tables <= 4, f"{tables} allocation tables")
    total, table = total16 or total32, table16 or table32
    need(table > 0, "an allocation table of 0 sectors")
    need(
        total * sector <= partition.size_bytes,
        f"{total} sectors of {sector} bytes, but the partition has {partition.size_bytes} bytes",
    )
    root_sectors = -(-root_entries * 32 // sector)
    before_data = reserved + tables * table + root_sectors
    need(before_data < total, f"{before_data} sectors of tables on a volume of {total} sectors")
    clusters = (total - before_data) // per_cluster
    kind = _kind(clusters, fat32=table16 == 0)
    need(0 < clusters <= _MOST[kind], f"{clusters} clusters")
    needed = -(-(clusters + 2) * {"FAT12": 3, "FAT16": 4, "FAT32": 8}[kind] // 2)
    need(
        table * sector >= needed,
        f"a table of {table * sector} bytes for {clusters} clusters, which need {needed}",
    )
    root_cluster, active = 0, 0
    if kind == "FAT32":
        flags, version, root_cluster = struct.unpack_from("<HHI", boot, 40)
        need(version == 0, f"FAT32 of version {version:#06x}")
        need(2 <= root_cluster <= clusters + 1, f"the root folder at cluster {root_cluster}")
        active = flags & 0x0F if flags & 0x80 else 0
        need(active < tables, f"table {active} is the active one, of {tables}")
    else:
        need(root_entries > 0, "a root folder of 0 entries")
    tail = 64 if kind == "FAT32" else 36
    extended = boot[tail + 2] == 0x29
    first_table = partition.offset + reserved * sector
    return Geometry(
        kind=kind,
        name=name,
        sector_bytes=sector,
        cluster_bytes=per_cluster * sector,
        clusters=clusters,
        table_offset=first_table + active * table * sector,
        table_bytes=table * sector,
        tables=tables,
        root_offset=first_table + tables * table * sector,
        root_entries=root_entries,
        root_cluster=root_cluster,
        data_offset=first_table + (tables * table + root_sectors) * sector,
        volume_id=int.from_bytes(boot[tail + 3 : tail + 7], "little") if extended else 0,
        label=boot[tail + 7 : tail + 18].decode("cp437").rstrip() if extended else "",
        oem=boot[3:11].decode("cp437"),
    )


def _kind(clusters: int, *, fat32: bool) -> Kind:
    # As Linux and mkfs.fat do: a 16-bit table size of 0 means FAT32, whatever the cluster count.
    if fat32:
        return "FAT32"
    return "FAT12" if clusters <= _MOST["FAT12"] else "FAT16"


class ClusterTable:
    """The chains of a volume, and which file has claimed which cluster."""

    def __init__(self, card: Card, geometry: Geometry) -> None:
        self._card = card
        self._geometry = geometry
        self._pages: dict[int, array[int]] = {}
        self._claimed = bytearray(geometry.clusters // 8 + 1)
        self._owners: list[tuple[int, int, str]] = []
        if geometry.kind == "FAT12":
            self._small = self._read_fat12()
            self._next: Callable[[int], int] = self._small.__getitem__
        else:
            self._next = self._next_in_page
        self._width = 2 if geometry.kind == "FAT16" else 4
        self._end = {"FAT12": 0xFF8, "FAT16": 0xFFF8, "FAT32": 0x0FFFFFF8}[geometry.kind]

    def chain(self, first: int, what: str, *, most: int, exact: bool) -> tuple[Run, ...]:
        """Follow and claim a chain.

        Args:
            first: the first cluster.
            what: whose chain it is, for messages.
            most: how many clusters it may have.
            exact: whether it must have as many, and what follows them is no matter.

        Raises:
            CardError: it loops, leaves the volume, meets another chain, or has another length.
        """
        runs: list[list[int]] = []
        cluster, count = first, 0
        while True:
            self._claim(cluster, what, runs)
            if runs and cluster == runs[-1][0] + runs[-1][1]:
                runs[-1][1] += 1
            else:
                runs.append([cluster, 1])
                if len(runs) > MAX_RUNS:
                    raise self._error(what, f"in more than {MAX_RUNS} pieces")
            count += 1
            if exact and count == most:
                break
            following = self._next(cluster)
            if following >= self._end:
                if exact:
                    raise self._error(
                        what, f"the chain ends after {count} clusters, the size needs {most}"
                    )
                break
            if count >= most:
                raise self._error(what, f"more than {most} clusters")
            cluster = following
        self._owners.extend((start, length, what) for start, length in runs)
        return tuple((start, length) for start, length in runs)

    def _claim(self, cluster: int, what: str, runs: list[list[int]]) -> None:
        if not 2 <= cluster <= self._geometry.last_cluster:
            before = f"after cluster {runs[-1][0] + runs[-1][1] - 1} " if runs else ""
            if cluster == 0:
                raise self._error(what, f"{before}the chain runs into a free cluster")
            raise self._error(
                what,
                f"{before}the chain goes to cluster {cluster}, "
                f"but the last one is {self._geometry.last_cluster}",
            )
        index = cluster - 2
        bit = 1 << (index & 7)
        if self._claimed[index >> 3] & bit:
            if any(start <= cluster < start + length for start, length in runs):
                raise self._error(what, f"the chain loops at cluster {cluster}")
            owner = next(
                (name for start, length, name in self._owners if start <= cluster < start + length),
                "a damaged chain",
            )
            raise self._error(what, f"cluster {cluster} belongs to {owner} too")
        self._claimed[index >> 3] |= bit

    def _error(self, what: str, problem: str) -> CardError:
        return CardError(f"{self._geometry.name}: {what}: {problem}")

    def _next_in_page(self, cluster: int) -> int:
        at = cluster * self._width
        number = at // _PAGE
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) >= _PAGES_KEPT:
                self._pages.clear()
            page = self._pages[number] = self._read_page(number)
        return page[at % _PAGE // self._width] & 0x0FFFFFFF

    def _read_page(self, number: int) -> array[int]:
        geometry = self._geometry
        size = min(_PAGE, geometry.table_bytes - number * _PAGE)
        data = self._card.read(
            geometry.table_offset + number * _PAGE, size, f"{geometry.name}: allocation table"
        )
        kind = "H" if self._width == 2 else "I"
        return _little_endian(kind, data)

    def _read_fat12(self) -> array[int]:
        geometry = self._geometry
        size = -(-(geometry.clusters + 2) * 3 // 2)
        data = self._card.read(geometry.table_offset, size, f"{geometry.name}: allocation table")
        entries = array("I")
        for cluster in range(geometry.clusters + 2):
            at = cluster * 3 // 2
            pair = data[at] | (data[at + 1] << 8)
            entries.append(pair >> 4 if cluster & 1 else pair & 0xFFF)
        return entries


def _little_endian(kind: str, data: bytes) -> array[int]:
    values = array(kind)
    values.frombytes(data)
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        values.byteswap()
    return values
