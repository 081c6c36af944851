# SPDX-License-Identifier: Apache-2.0
"""The SD image, with fsck.fat, mtools and sfdisk as the judges."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from farm.core.errors import BuildError, UserError
from farm.core.run import run
from farm.firmware.card import open_card
from farm.firmware.fat import FatVolume
from farm.firmware.mbr import read_table
from farm.image.card import CardFile, CardImage, write_card
from farm.image.slots import BLOCK

START = 4 << 20


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def some_files(folder: Path) -> list[CardFile]:
    """Files of all kinds: empty, small, in folders, of several parts, from the disk."""
    kernel = folder / "kernel"
    kernel.write_bytes(noise(700_001, 1))
    parts = []
    for number, size in enumerate((200_000, 65_536, 1, 90_000)):
        parts.append(folder / f"part{number}")
        parts[-1].write_bytes(noise(size, 10 + number))
    return [
        CardFile("config.txt", (b"arm_64bit=1\n",)),
        CardFile("empty", (b"",)),
        CardFile("overlays/README", (b"none",)),
        CardFile("overlays/deeper/a long name with spaces and an \u00e9.dtbo", (noise(5000),)),
        CardFile("bcm2711-rpi-4-b.dtb", (noise(39_666),)),
        CardFile("kernel8.img", (kernel,)),
        CardFile("initrd.img", tuple(parts)),
    ]


def write(folder: Path, files: list[CardFile], name: str = "card.img", key: str = "k") -> CardImage:
    return write_card(folder / name, files, label="farm boot", key=key)


def partition_of(image: Path) -> Path:
    path = image.with_suffix(".part")
    with image.open("rb") as source, path.open("wb") as target:
        source.seek(START)
        shutil.copyfileobj(source, target, 1 << 20)
    return path


def fsck(image: Path) -> str:
    return run(["fsck.fat", "-n", "-v", partition_of(image)]).stdout.decode()


def contents(file: CardFile) -> list[bytes]:
    return [part if isinstance(part, bytes) else part.read_bytes() for part in file.slots]


def test_other_programs_find_everything_right(tmp_path: Path) -> None:
    files = some_files(tmp_path)
    image = write(tmp_path, files)
    said = fsck(image.path)
    assert "73728 data clusters" in said and "1024 bytes per cluster" in said
    table = json.loads(run(["sfdisk", "--json", image.path]).stdout)["partitiontable"]
    (partition,) = table["partitions"]
    assert (partition["start"], partition["type"], partition["bootable"]) == (8192, "c", True)
    assert (partition["start"] + partition["size"]) * 512 == image.size_bytes
    assert image.path.stat().st_size == image.size_bytes
    drive = f"{image.path}@@{START}"
    assert b"FARM BOOT" in run(["mlabel", "-s", "-i", drive]).stdout
    out = tmp_path / "out"
    out.mkdir()
    run(["mcopy", "-s", "-i", drive, "::*", out])
    for file in files:
        data = (out / file.path).read_bytes()
        parts = contents(file)
        if len(parts) == 1:
            assert data == parts[0]
            continue
        at = 0
        for part in parts:
            assert data[at : at + len(part)] == part
            slot = -(-len(part) // BLOCK) * BLOCK
            assert not any(data[at + len(part) : at + slot])
            at += slot
        assert at == len(data)


def test_names_are_as_they_were_given(tmp_path: Path) -> None:
    files = [
        CardFile(name, (b"x",))
        for name in ("bootcode.bin", "UPPER.TXT", "Mixed.Txt", "bcm2711-rpi-4-b.dtb", "\u4e2d")
    ]
    files += [CardFile(f"many/bcm2711-rpi-{n}.dtb", (b"x",)) for n in range(40)]
    image = write(tmp_path, files)
    fsck(image.path)
    with open_card(image.path) as card:
        volume = FatVolume(card, read_table(card).partitions[0])
        found = {entry.path: entry.short_name for entry in volume.walk()}
    assert set(found) == {"/many", *(f"/{file.path}" for file in files)}
    # The boot ROM knows 8.3 names only.
    assert found["/bootcode.bin"] == "BOOTCODE.BIN"
    assert len({short for path, short in found.items() if path.startswith("/many/")}) == 40


def test_the_same_input_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = some_files(tmp_path)
    first = write(tmp_path, files, "a.img")
    before = os.umask(0o077)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        second = write(tmp_path, files, "b.img")
    finally:
        os.umask(before)
        monkeypatch.delenv("TZ")
        time.tzset()
    assert first.digest == second.digest
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (tmp_path / "a.img.bmap").read_bytes() == (tmp_path / "b.img.bmap").read_bytes()
    other = write(tmp_path, files, "c.img", key="another")
    assert other.digest != first.digest and other.extents == first.extents
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert write(tmp_path, files, "d.img").digest != first.digest


def test_times_are_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [CardFile("x", (b"x",))]
    drive = f"{write(tmp_path, files).path}@@{START}"
    assert b"2025-01-01   0:00" in run(["mdir", "-i", drive, "::"]).stdout
    for given, shown in (("1000000000", b"2001-09-09   1:46"), ("0", b"1980-01-01   0:00")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
        write(tmp_path, files)
        assert shown in run(["mdir", "-i", drive, "::"]).stdout


def blocks(image: CardImage) -> dict[int, bytes]:
    """Blocks of 64 KiB that hold something that matters."""
    data = image.path.read_bytes()
    numbers = {
        number
        for offset, size in image.extents
        for number in range(offset // BLOCK, (offset + size - 1) // BLOCK + 1)
    }
    return {number: data[number * BLOCK : (number + 1) * BLOCK] for number in numbers}


def changed(before: CardImage, after: CardImage) -> set[int]:
    old, new = blocks(before), blocks(after)
    return {number for number, data in new.items() if old.get(number) != data}


def test_a_part_that_changes_in_its_slot_changes_nothing_else(tmp_path: Path) -> None:
    files = some_files(tmp_path)
    before = write(tmp_path, files, "a.img")
    part = tmp_path / "part0"
    part.write_bytes(noise(250_000, 99))
    after = write(tmp_path, files, "b.img")
    assert before.extents == after.extents
    assert len(changed(before, after)) == 4  # of 64 KiB: the part's own
    part.write_bytes(noise(300_000, 99))
    moved = write(tmp_path, files, "c.img")
    assert 4 < len(changed(after, moved)) < 20


def test_a_file_that_grows_in_its_slot_leaves_the_others(tmp_path: Path) -> None:
    files = some_files(tmp_path)
    before = write(tmp_path, files, "a.img")
    files[0] = CardFile("config.txt", (b"arm_64bit=1\n" * 100,))
    after = write(tmp_path, files, "b.img")
    # Boot sector's free count, both tables, folders with small files.
    assert len(changed(before, after)) <= 4


def test_extents_hold_all_that_matters(tmp_path: Path) -> None:
    """Anything between them may be anything: the card reads the same."""
    files = some_files(tmp_path)
    image = write(tmp_path, files)
    data = bytearray(b"\xa5" * image.size_bytes)
    whole = image.path.read_bytes()
    for offset, size in image.extents:
        assert offset % 4096 == 0 and size % 4096 == 0
        data[offset : offset + size] = whole[offset : offset + size]
    other = tmp_path / "other.img"
    other.write_bytes(data)
    fsck(other)
    with open_card(image.path) as a, open_card(other) as b:
        one, two = (FatVolume(card, read_table(card).partitions[0]) for card in (a, b))
        for entry in one.walk():
            if not entry.is_folder:
                again = two.find(entry.path)
                assert again is not None
                limit = image.size_bytes
                assert two.read(again, limit_bytes=limit) == one.read(entry, limit_bytes=limit)
    mapped = sum(size for _, size in image.extents)
    assert mapped < image.size_bytes / 10
    assert image.path.stat().st_blocks * 512 < mapped + (1 << 20)


def test_the_block_map_is_right(tmp_path: Path) -> None:
    image = write(tmp_path, some_files(tmp_path))
    path = tmp_path / "card.img.bmap"
    text = path.read_bytes()
    root = ET.fromstring(text)
    assert root.attrib["version"] == "2.0"

    def number(name: str) -> int:
        return int(root.findtext(name, "").strip())

    assert number("ImageSize") == image.size_bytes
    assert number("BlocksCount") == image.size_bytes // 4096
    digest = root.findtext("BmapFileChecksum", "").strip()
    assert hashlib.sha256(text.replace(digest.encode(), b"0" * 64)).hexdigest() == digest
    data = image.path.read_bytes()
    spans = []
    for row in root.iter("Range"):
        first, _, last = (row.text or "").strip().partition("-")
        start, end = int(first) * 4096, (int(last or first) + 1) * 4096
        assert hashlib.sha256(data[start:end]).hexdigest() == row.attrib["chksum"]
        spans.append((start, end - start))
    assert tuple(spans) == image.extents
    assert number("MappedBlocksCount") * 4096 == sum(size for _, size in spans)


def test_a_large_card_has_larger_clusters(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(280 << 20)
    image = write(tmp_path, [CardFile("x", (b"x",)), CardFile("big", (big,))])
    said = fsck(image.path)
    assert "4096 bytes per cluster" in said
    with open_card(image.path) as card:
        geometry = FatVolume(card, read_table(card).partitions[0]).geometry
    assert geometry.data_offset == 8 << 20 and geometry.clusters >= 65_525


def test_where_the_disk_cannot_copy_inside_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = some_files(tmp_path)
    first = write(tmp_path, files, "a.img")

    def refuse(*args: object) -> int:
        raise OSError(errno.EXDEV, "across disks")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert write(tmp_path, files, "b.img").digest == first.digest


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a", "A"], "A: stands twice"),
        (["a", "a"], "a: stands twice"),
        (["a", "a/b"], "a: stands twice"),
        (["a/b", "A/c"], "A: stands twice"),
        (["a/../b"], "'..' cannot be a name on a FAT partition"),
        (["/a"], "'' cannot be a name on a FAT partition"),
        (["a:b"], "'a:b' cannot be a name on a FAT partition"),
        (["x" * 256], "cannot be a name on a FAT partition"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, paths: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        write(tmp_path, [CardFile(path, (b"x",)) for path in paths])
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(BuildError, match="bytes of files, more than 2147483648"):
        write(tmp_path, [CardFile("big", (big,))])


def test_a_part_that_is_gone_leaves_the_old_image(tmp_path: Path) -> None:
    files = some_files(tmp_path)
    before = write(tmp_path, files).path.read_bytes()
    (tmp_path / "part0").unlink()
    with pytest.raises(BuildError, match="part0: No such file"):
        write(tmp_path, files)
    assert (tmp_path / "card.img").read_bytes() == before
    assert not list(tmp_path.glob(".card*"))
