# SPDX-License-Identifier: Apache-2.0
"""Reading FAT volumes that mkfs.fat and mcopy made, and names of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.run import run
from farm.firmware.card import open_card
from farm.firmware.fat import FatEntry, FatVolume
from farm.firmware.fat_names import (
    ENTRY,
    LongName,
    checksum,
    is_allowed,
    long_entries,
    make_short,
    short_text,
)
from farm.firmware.mbr import read_table
from tests.firmware.cards import make_card

FILES = {
    "config.txt": b"arm_64bit=1\n",
    "EMPTY": b"",
    "bcm2711-rpi-4-b.dtb": bytes(range(256)) * 130,
    "a name that is longer than the thirteen letters of an entry, and more.txt": b"long",
    "sch\u00f6n \u4e2d\u6587.txt": b"unicode",
    "overlays/deeper/kernel8.img": random.Random(1).randbytes(700_001),
}


@contextmanager
def mounted(path: Path) -> Iterator[FatVolume]:
    with open_card(path) as card:
        yield FatVolume(card, read_table(card).partitions[0])


def found(volume: FatVolume, path: str) -> FatEntry:
    entry = volume.find(path)
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("fat", "mib", "options"),
    [
        (12, 2, ()),
        (12, 8, ("-s", "8")),
        (16, 20, ()),
        (16, 64, ("-s", "4", "-f", "1")),
        (32, 40, ("-s", "1")),
        (32, 300, ()),
    ],
)
def test_files_come_back_as_they_were(
    tmp_path: Path, fat: int, mib: int, options: tuple[str, ...]
) -> None:
    card = make_card(tmp_path / "card", FILES, fat=fat, mib=mib, options=options)
    with mounted(card.path) as volume:
        assert volume.geometry.kind == f"FAT{fat}"
        listed = {e.path.removeprefix("/") for e in volume.walk() if not e.is_folder}
        assert listed == set(FILES)
        for name, data in FILES.items():
            assert volume.read(found(volume, name), limit_bytes=1 << 20) == data
        assert volume.label == "TESTCARD"
        assert found(volume, "overlays").is_folder


def test_names_are_found_in_any_case_and_by_their_short_form(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", FILES)
    with mounted(card.path) as volume:
        for path in ("CONFIG.TXT", "/config.txt", "./Config.Txt", "BCM271~1.DTB"):
            assert volume.find(path) is not None
        for path in ("config", "config.txt/x", "overlays/none", "../config.txt", "", "/"):
            assert volume.find(path) is None


def test_a_file_in_pieces_is_read_in_order(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(300_000)
    card = make_card(tmp_path / "card", {"x": data})
    with mounted(card.path) as volume:
        clusters = card.clusters("x")
        assert len(clusters) == -(-len(data) // volume.geometry.cluster_bytes)
        offset = volume.geometry.data_offset - (1 << 20)
    # Swap two clusters of the middle, in the chain and on the disk.
    a, b = clusters[100], clusters[300]
    for before, after in ((99, b), (299, a)):
        card.link(clusters[before], after)
    card.link(b, clusters[101])
    card.link(a, clusters[301])
    for index, cluster in ((100, b), (300, a)):
        card.patch(offset + (cluster - 2) * 512, data[index * 512 : (index + 1) * 512])
    with mounted(card.path) as volume:
        assert len(volume.runs(found(volume, "x"))) == 5
        assert volume.read(found(volume, "x"), limit_bytes=1 << 20) == data


def test_deleted_files_leave_no_trace(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", {"a long name that will go.txt": b"x", "stays.txt": b"y"})
    run(["mdel", "-i", card.drive, "::a long name that will go.txt"])
    with mounted(card.path) as volume:
        assert [entry.name for entry in volume.list()] == ["stays.txt"]


names = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters='"*/:<>?\\|'),
    min_size=1,
    max_size=100,
).filter(is_allowed)


@given(names)
def test_a_name_comes_back_from_its_entries(name: str) -> None:
    short = make_short(name, ())
    assert len(short) == 11
    entries = long_entries(name, short)
    reader = LongName()
    for at in range(0, len(entries), ENTRY):
        reader.add(entries[at : at + ENTRY])
    assert (reader.take(short) or short_text(short)) == name


@given(st.lists(names, max_size=40, unique_by=str.upper))
def test_short_names_differ(many: list[str]) -> None:
    taken: set[bytes] = set()
    for name in many:
        taken.add(make_short(name, taken))
    assert len(taken) == len(many)


@given(
    st.lists(st.binary(min_size=32, max_size=32), max_size=30), st.binary(min_size=11, max_size=11)
)
def test_entries_of_no_name_are_no_name(entries: list[bytes], short: bytes) -> None:
    reader = LongName()
    for entry in entries:
        reader.add(entry)
    name = reader.take(short)
    assert name is None or entries[-1][13] == checksum(short)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("config.txt", b"CONFIG  TXT"),
        ("BOOTCODE.BIN", b"BOOTCODEBIN"),
        ("bcm2711-rpi-4-b.dtb", b"BCM271~1DTB"),
        (".profile", b"PROFIL~1   "),
        ("a b.c.d", b"ABC~1   D  "),
        ("sch\u00f6n", b"SCH_N~1    "),
    ],
)
def test_short_names_are_as_other_systems_make_them(name: str, short: bytes) -> None:
    assert make_short(name, ()) == short
