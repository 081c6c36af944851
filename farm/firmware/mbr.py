# SPDX-License-Identifier: Apache-2.0
"""The partition table in a card's first sector (MBR), read and made.

Source: https://en.wikipedia.org/wiki/Master_boot_record (classical generic layout, with the
32-bit disk signature at 440); UEFI specification 2.10, section 5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from farm.firmware.card import Card, CardError

SECTOR = 512
FAT_TYPES = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E})
FAT32_LBA = 0x0C
_GPT = 0xEE
_TABLE = 446
_ENTRY = struct.Struct("<B3sB3sII")
# CHS fields that say "too far for CHS, use the LBA fields".
_CHS_UNUSED = b"\xfe\xff\xff"


@dataclass(frozen=True)
class Partition:
    """One primary partition; sectors are of 512 bytes.

    Args:
        number: 1 to 4, its place in the table.
        type: the type byte, such as 0x0c for FAT32 with LBA.
        bootable: whether the active flag is set.
    """

    number: int
    type: int
    first_sector: int
    sectors: int
    bootable: bool = False

    @property
    def offset(self) -> int:
        """Where it begins on the card, in bytes."""
        return self.first_sector * SECTOR

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return self.sectors * SECTOR


@dataclass(frozen=True)
class PartitionTable:
    """What the first sector says."""

    disk_id: int
    partitions: tuple[Partition, ...]


def read_table(card: Card) -> PartitionTable:
    """Read the card's partition table; empty entries are left out.

    Raises:
        CardError: there is none, or it is a GPT.
    """
    if card.size_bytes < SECTOR:
        raise CardError(f"sector 0: the card has only {card.size_bytes} bytes")
    sector = card.read(0, SECTOR, "sector 0")
    if not any(sector):
        raise CardError(
            "sector 0: empty: a blank card, or one whose flashing did not finish",
            hint="flash it",
        )
    if sector[510:] != b"\x55\xaa":
        raise CardError("sector 0: no partition table (the signature 55 aa is missing)")
    if sector[54:57] == b"FAT" or sector[82:85] == b"FAT":
        raise CardError("sector 0: a FAT filesystem in place of a partition table")
    found = []
    for number in range(1, 5):
        status, _, kind, _, first, count = _ENTRY.unpack_from(sector, _TABLE + 16 * (number - 1))
        if status not in (0x00, 0x80):
            raise CardError(f"sector 0: entry {number} of the table begins with {status:#04x}")
        if kind == _GPT:
            raise CardError("sector 0: a GPT partition table, which is not read; an MBR is needed")
        if kind and count:
            found.append(Partition(number, kind, first, count, status == 0x80))
    return PartitionTable(int.from_bytes(sector[440:444], "little"), tuple(found))


def check_fits(card: Card, partition: Partition) -> None:
    """Check that a partition lies on the card, behind the table.

    Raises:
        CardError: it does not.
    """
    if partition.first_sector == 0:
        raise CardError(f"partition {partition.number}: begins in the partition table's sector")
    end = partition.offset + partition.size_bytes
    if end > card.size_bytes:
        raise CardError(
            f"partition {partition.number}: ends at byte {end}, beyond the card's end "
            f"at {card.size_bytes}"
        )


def table_bytes(disk_id: int, partitions: Sequence[Partition]) -> bytes:
    """Return the 512 bytes of a first sector with these partitions and no boot code.

    Raises:
        ValueError: a partition's number is not 1 to 4.
    """
    sector = bytearray(SECTOR)
    sector[440:444] = disk_id.to_bytes(4, "little")
    for partition in partitions:
        if not 1 <= partition.number <= 4:
            raise ValueError(f"partition {partition.number}: an MBR has the numbers 1 to 4")
        _ENTRY.pack_into(
            sector,
            _TABLE + 16 * (partition.number - 1),
            0x80 if partition.bootable else 0,
            _CHS_UNUSED,
            partition.type,
            _CHS_UNUSED,
            partition.first_sector,
            partition.sectors,
        )
    sector[510:] = b"\x55\xaa"
    return bytes(sector)
