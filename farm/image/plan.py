# SPDX-License-Identifier: Apache-2.0
"""Who lies where on a card: from file sizes to clusters, extents and the volume's own bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farm.firmware.mbr import FAT32_LBA, SECTOR, Partition, table_bytes
from farm.image.bmap import BLOCK
from farm.image.fat32 import (
    DATA_START,
    PARTITION_START,
    FolderItem,
    Volume,
    allocation_table,
    boot_sectors,
    folder_bytes,
)
from farm.image.folders import make_folders
from farm.image.slots import lay_out

Span = tuple[int, int]
"""Offset on the card and size, in bytes."""


@dataclass(frozen=True)
class Item:
    """A file or folder with its places.

    Args:
        spans: its bytes on the card; of a file of several parts, each whole slot.
        starts: where each part begins, as offsets on the card.
    """

    spans: tuple[Span, ...]
    starts: tuple[int, ...]

    @property
    def size(self) -> int:
        """The size as the folder tells it."""
        return sum(size for _, size in self.spans)


class CardPlan:
    """The whole card, planned from names and sizes alone."""

    def __init__(
        self,
        paths: Sequence[str],
        sizes: Sequence[Sequence[int]],
        *,
        disk_id: int,
        volume_id: int,
        label: bytes,
    ) -> None:
        """Plan a card.

        Args:
            paths: the files' paths.
            sizes: the bytes of each file's parts.
            disk_id: 32 bits.
            volume_id: 32 bits.
            label: 11 bytes.

        Raises:
            UserError: a name cannot be on a FAT volume.
            ValueError: it is more than a card can have.
        """
        self._folders = make_folders(paths)
        self._disk_id = disk_id
        # Folders come first: with the small files behind them they change most.
        layout = lay_out([*([folder.most_bytes] for folder in self._folders), *sizes])
        self._volume = Volume.for_data(layout.total, volume_id, label)
        items = []
        for place, parts in zip(
            layout.places, [*([f.most_bytes] for f in self._folders), *sizes], strict=True
        ):
            starts = tuple(DATA_START + offset for offset in place.offsets)
            filled = place.slot_bytes if len(parts) > 1 else tuple(parts)
            items.append(Item(tuple(zip(starts, filled, strict=True)), starts))
        self._folder_items = items[: len(self._folders)]
        self.files: tuple[Item, ...] = tuple(items[len(self._folders) :])

    @property
    def image_bytes(self) -> int:
        """The image's size."""
        return DATA_START + self._volume.data_bytes

    def own_bytes(self, at_s: int) -> Iterator[tuple[int, bytes]]:
        """Give everything but the files' contents, as (offset, bytes).

        Args:
            at_s: the time of all files, in seconds since 1970.
        """
        volume = self._volume
        chains = [runs for item in self._items if (runs := self._runs(item))]
        used = sum(count for runs in chains for _, count in runs)
        last = max(first + count - 1 for runs in chains for first, count in runs)
        partition = Partition(1, FAT32_LBA, PARTITION_START // SECTOR, volume.sectors, True)
        yield 0, table_bytes(self._disk_id, [partition])
        yield PARTITION_START, boot_sectors(volume, volume.clusters - used, last)
        table = allocation_table(volume, chains)
        for offset in volume.table_offsets:
            yield offset, table
        for folder, item in zip(self._folders, self._folder_items, strict=True):
            listed = [
                FolderItem(name, self._first(self._folder_items[index]), 0, is_folder=True)
                for name, index in folder.folders.items()
            ]
            listed += [
                FolderItem(name, self._first(self.files[index]), self.files[index].size)
                for name, index in folder.files.items()
            ]
            yield (
                item.starts[0],
                folder_bytes(
                    listed,
                    at_s=at_s,
                    label=volume.label if folder.index == 0 else None,
                    own=self._first(item),
                    # By the specification, ".." is 0 where the parent is the root.
                    parent=self._first(self._folder_items[folder.parent]) if folder.parent else 0,
                ),
            )

    def extents(self) -> tuple[Span, ...]:
        """Return what matters on the card, in whole 4-KiB blocks, merged where it touches."""
        tables = self._volume.table_sectors * SECTOR
        spans: list[Span] = [(0, SECTOR), (PARTITION_START, 8 * SECTOR)]
        spans += [(offset, tables) for offset in self._volume.table_offsets]
        spans += [span for item in self._items for span in item.spans]
        merged: list[list[int]] = []
        for start, size in sorted(span for span in spans if span[1]):
            end = -(-(start + size) // BLOCK) * BLOCK
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        return tuple((start, end - start) for start, end in merged)

    @property
    def _items(self) -> tuple[Item, ...]:
        return (*self._folder_items, *self.files)

    def _runs(self, item: Item) -> list[tuple[int, int]]:
        return [
            (self._volume.cluster_at(start - DATA_START), self._volume.clusters_for(size))
            for start, size in item.spans
            if size
        ]

    def _first(self, item: Item) -> int:
        runs = self._runs(item)
        return runs[0][0] if runs else 0
