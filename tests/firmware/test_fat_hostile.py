# SPDX-License-Identifier: Apache-2.0
"""Volumes that lie: every one is refused in little time and memory, with what and where."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.firmware.card import CardError, open_card
from farm.firmware.fat import FatVolume
from farm.firmware.mbr import read_table
from tests.firmware.cards import START, MadeCard, make_card
from tests.firmware.test_fat import found, mounted

DATA = bytes(range(256)) * 40


@pytest.fixture
def card(tmp_path: Path) -> MadeCard:
    return make_card(tmp_path / "card", {"a.bin": DATA, "b.bin": DATA, "sub/c.bin": DATA})


def read(card: MadeCard, *names: str) -> None:
    with mounted(card.path) as volume:
        for name in names:
            volume.read(found(volume, name), limit_bytes=1 << 30)


def entry_offset(card: MadeCard, short: bytes) -> int:
    """Where a name's directory entry is, from the partition's beginning."""
    with card.path.open("rb") as file:
        file.seek(START)
        at = file.read(8 << 20).find(short)
    assert at > 0
    return at


def test_a_chain_that_loops(card: MadeCard) -> None:
    clusters = card.clusters("a.bin")
    card.link(clusters[5], clusters[2])
    with pytest.raises(CardError, match=f"/a.bin: the chain loops at cluster {clusters[2]}$"):
        read(card, "a.bin")


def test_a_chain_that_leaves_the_volume(card: MadeCard) -> None:
    clusters = card.clusters("a.bin")
    card.link(clusters[5], 0x0FFFFFF0)
    with pytest.raises(
        CardError,
        match=rf"/a.bin: after cluster {clusters[5]} the chain goes to cluster 268435440, "
        r"but the last one is \d+$",
    ):
        read(card, "a.bin")


def test_a_chain_into_a_free_cluster(card: MadeCard) -> None:
    card.link(card.clusters("a.bin")[5], 0)
    with pytest.raises(
        CardError, match=r"/a\.bin: after cluster \d+ the chain runs into a free cluster"
    ):
        read(card, "a.bin")


def test_a_chain_that_is_too_short(card: MadeCard) -> None:
    card.link(card.clusters("a.bin")[5], 0x0FFFFFFF)
    with pytest.raises(CardError, match="the chain ends after 6 clusters, the size needs 20"):
        read(card, "a.bin")


def test_two_files_that_share_a_cluster(card: MadeCard) -> None:
    shared = card.clusters("b.bin")[6]
    card.link(card.clusters("a.bin")[5], shared)
    with pytest.raises(CardError, match=f"/b.bin: cluster {shared} belongs to /a.bin too"):
        read(card, "a.bin", "b.bin")
    read(card, "b.bin")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 50 << 20])
def test_a_size_beyond_the_card(card: MadeCard, size: int) -> None:
    card.patch(entry_offset(card, b"A       BIN") + 28, struct.pack("<I", size))
    with pytest.raises(CardError, match=f"/a.bin: {size} bytes, more than the whole volume"):
        read(card, "a.bin")


def test_a_file_larger_than_what_may_be_read(card: MadeCard) -> None:
    with (
        mounted(card.path) as volume,
        pytest.raises(
            CardError, match=r"/a\.bin: 10240 bytes, more than the 1000 that may be read"
        ),
    ):
        volume.read(found(volume, "a.bin"), limit_bytes=1000)


def test_a_folder_is_no_file(card: MadeCard) -> None:
    with pytest.raises(CardError, match="partition 1: /sub: a folder, not a file"):
        read(card, "sub")


def test_a_folder_in_a_loop(card: MadeCard) -> None:
    (only,) = card.clusters("sub")
    card.link(only, only)
    with pytest.raises(CardError, match=f"/sub: the chain loops at cluster {only}"):
        read(card, "sub/c.bin")


def test_a_folder_inside_itself(card: MadeCard) -> None:
    (only,) = card.clusters("sub")
    at = entry_offset(card, b"C       BIN")
    card.patch(at + 11, b"\x10")
    card.patch(at + 20, struct.pack("<H", only >> 16))
    card.patch(at + 26, struct.pack("<H", only & 0xFFFF))
    with (
        mounted(card.path) as volume,
        pytest.raises(CardError, match=f"/sub/c.bin: cluster {only} belongs to /sub too"),
    ):
        list(volume.walk())


def test_a_million_entries_in_a_folder(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", {"sub/c.bin": b"x"}, mib=72)
    (first,) = card.clusters("sub")
    with mounted(card.path) as volume:
        geometry = volume.geometry
    entry = struct.pack("<11sBBBHHHHHHHI", b"C       BIN", 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    count = 1_000_000 * 32 // geometry.cluster_bytes
    start = first + 100
    links = range(start + 1, start + count + 1)
    card.link(first, start)
    card.patch(card.table + 4 * start, b"".join(n.to_bytes(4, "little") for n in links))
    at = geometry.data_offset - START
    card.patch(at + (first - 2) * geometry.cluster_bytes, entry * (geometry.cluster_bytes // 32))
    card.patch(at + (start - 2) * geometry.cluster_bytes, entry * 1_000_000)
    with pytest.raises(CardError, match="partition 1: /sub: a folder of more than 65536 entries"):
        read(card, "sub/c.bin")


def test_a_million_entries_in_many_folders(card: MadeCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.firmware.fat.MAX_WALKED", 3)
    with (
        mounted(card.path) as volume,
        pytest.raises(CardError, match="partition 1: more than 3 files and folders"),
    ):
        list(volume.walk())


def test_folders_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.firmware.fat.MAX_DEPTH", 3)
    card = make_card(tmp_path / "card", {"a/b/c/d/e": b"x"})
    with (
        mounted(card.path) as volume,
        pytest.raises(CardError, match="partition 1: /a/b/c/d: folders more than 3 deep"),
    ):
        list(volume.walk())


def test_a_file_in_very_many_pieces(card: MadeCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.firmware.fat_table.MAX_RUNS", 2)
    a, b = card.clusters("a.bin"), card.clusters("b.bin")
    card.link(a[2], b[2])
    card.link(b[3], a[5])
    with pytest.raises(CardError, match=r"/a\.bin: in more than 2 pieces"):
        read(card, "a.bin")


def change(offset: int, form: str, value: int) -> Callable[[MadeCard], None]:
    return lambda card: card.patch(offset, struct.pack(f"<{form}", value))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(510, "H", 0), "no FAT filesystem"),
        (change(11, "H", 513), "sectors of 513 bytes"),
        (change(13, "B", 0), "clusters of 0 sectors"),
        (change(13, "B", 3), "clusters of 3 sectors"),
        (change(14, "H", 0), "no reserved sectors"),
        (change(16, "B", 0), "0 allocation tables"),
        (change(16, "B", 255), "255 allocation tables"),
        (change(32, "I", 0xFFFFFFFF), "4294967295 sectors of 512 bytes, but the partition has"),
        (change(32, "I", 10), "sectors of tables on a volume of 10 sectors"),
        (change(36, "I", 0), "an allocation table of 0 sectors"),
        (change(36, "I", 1), "a table of 512 bytes for"),
        (change(36, "I", 0x7FFFFFFF), "sectors of tables on a volume"),
        (change(42, "H", 7), "FAT32 of version 0x0007"),
        (change(44, "I", 1), "the root folder at cluster 1"),
        (change(44, "I", 0x0FFFFFF0), "the root folder at cluster 268435440"),
        (change(40, "H", 0x85), "table 5 is the active one, of 2"),
    ],
)
def test_absurd_geometry(card: MadeCard, spoil: Callable[[MadeCard], None], message: str) -> None:
    spoil(card)
    with pytest.raises(CardError, match=f"partition 1: boot sector: .*({message})"):
        read(card, "a.bin")


def test_a_partition_of_zeros(card: MadeCard) -> None:
    card.patch(0, bytes(512))
    with pytest.raises(CardError, match="partition 1: boot sector: empty: no filesystem"):
        read(card, "a.bin")


def test_a_card_cut_short(card: MadeCard) -> None:
    with card.path.open("r+b") as file:
        file.truncate(10 << 20)
    with pytest.raises(CardError, match="beyond the card's end at 10485760"):
        read(card, "a.bin")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> list[MadeCard]:
    folder = tmp_path_factory.mktemp("fuzzed")
    files = {"a.bin": DATA, "sub/a long name for once.bin": DATA}
    return [
        make_card(folder / "12", files, fat=12, mib=2, options=()),
        make_card(folder / "16", files, fat=16, mib=20, options=()),
        make_card(folder / "32", files),
    ]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_damage_is_more_than_an_error(fuzzed: list[MadeCard], data: st.DataObject) -> None:
    """Bytes changed where the structures are: whatever comes of it is an error of the card."""
    card = data.draw(st.sampled_from(fuzzed))
    kept: dict[int, int] = {}
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.one_of(st.integers(0, 100), st.integers(0, 40_000)))
        kept.setdefault(at, card.number(at, 1))
        card.patch(at, bytes([data.draw(st.integers(0, 255))]))
    try:
        with open_card(card.path) as opened:
            volume = FatVolume(opened, read_table(opened).partitions[0])
            for entry in volume.walk():
                if not entry.is_folder:
                    volume.read(entry, limit_bytes=1 << 20)
    except CardError as error:
        assert error.message.startswith("partition 1: ")
    finally:
        for at, byte in kept.items():
            card.patch(at, bytes([byte]))
