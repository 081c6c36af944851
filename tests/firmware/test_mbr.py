# SPDX-License-Identifier: Apache-2.0
"""The partition table, with sfdisk as the judge."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from farm.core.errors import UserError
from farm.core.run import run
from farm.firmware.card import CardError, open_card
from farm.firmware.mbr import Partition, PartitionTable, check_fits, read_table, table_bytes

TWO = (Partition(1, 0x0C, 8192, 20480, True), Partition(2, 0x83, 28672, 2048))


def write(path: Path, sector: bytes, sectors: int = 65536) -> Path:
    with path.open("wb") as file:
        file.write(sector)
        file.truncate(sectors * 512)
    return path


def read(path: Path) -> PartitionTable:
    with open_card(path) as card:
        return read_table(card)


def test_sfdisk_reads_what_we_write(tmp_path: Path) -> None:
    card = write(tmp_path / "card", table_bytes(0xDEADBEEF, TWO))
    said = json.loads(run(["sfdisk", "--json", card]).stdout)["partitiontable"]
    assert said["label"] == "dos" and said["id"] == "0xdeadbeef"
    assert [(p["start"], p["size"], p["type"]) for p in said["partitions"]] == [
        (8192, 20480, "c"),
        (28672, 2048, "83"),
    ]
    assert [p.get("bootable", False) for p in said["partitions"]] == [True, False]


def test_we_read_what_sfdisk_writes(tmp_path: Path) -> None:
    card = write(tmp_path / "card", b"")
    script = "label: dos\nlabel-id: 0x12345678\n1: start=8192, size=20480, type=c, bootable\n"
    sfdisk: list[str | Path] = ["sfdisk", "-q", "--no-reread", "--no-tell-kernel", card]
    run(sfdisk, input=f"{script}2: start=28672, size=2048, type=83\n".encode())
    assert read(card) == PartitionTable(0x12345678, TWO)


@pytest.mark.parametrize(
    ("sector", "message"),
    [
        (b"", "sector 0: empty: a blank card, or one whose flashing did not finish"),
        (b"x" * 512, r"sector 0: no partition table \(the signature 55 aa is missing\)"),
        (table_bytes(1, [Partition(1, 0xEE, 1, 100)]), "a GPT partition table"),
        (
            bytes(446) + b"\x17" + bytes(63) + b"\x55\xaa",
            "sector 0: entry 1 of the table begins with 0x17",
        ),
        (bytes(82) + b"FAT32   " + bytes(420) + b"\x55\xaa", "a FAT filesystem in place of"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, sector: bytes, message: str) -> None:
    with pytest.raises(CardError, match=message):
        read(write(tmp_path / "card", sector))


def test_a_card_shorter_than_a_sector_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card"
    path.write_bytes(b"short")
    with pytest.raises(CardError, match="the card has only 5 bytes"):
        read(path)


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        (Partition(1, 0x0C, 65000, 1000), "ends at byte 33792000, beyond the card's end"),
        (Partition(2, 0x0C, 0, 10), "partition 2: begins in the partition table's sector"),
        (Partition(3, 0x0C, 0xFFFFFFFF, 0xFFFFFFFF), "beyond the card's end at 33554432"),
    ],
)
def test_a_partition_must_lie_on_the_card(
    tmp_path: Path, partition: Partition, message: str
) -> None:
    path = write(tmp_path / "card", table_bytes(1, [partition]))
    with open_card(path) as card, pytest.raises(CardError, match=re.escape(message)):
        check_fits(card, read_table(card).partitions[0])


def test_only_files_and_disks_are_opened(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="cannot be opened: No such file"),
        open_card(tmp_path / "absent"),
    ):
        pass
    with (
        pytest.raises(UserError, match="neither a file nor a block device"),
        open_card(Path("/dev/null")),
    ):
        pass


def test_a_table_has_four_places() -> None:
    with pytest.raises(ValueError, match="1 to 4"):
        table_bytes(1, [Partition(5, 0x0C, 8192, 100)])
