# SPDX-License-Identifier: Apache-2.0
"""Which blocks of an image are in use: by extents, holes, and block maps."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.core.errors import UserError
from farm.flash import wire
from farm.flash.blocks import image_blocks, read_blocks
from farm.flash.bmap import check_bmap, parse_bmap, read_bmap
from farm.flash.wire import BLOCK_BYTES
from farm.image.bmap import bmap_xml

KIB4 = 4096


def _image(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path


def _bmap(image: Path, extents: list[tuple[int, int]]) -> Path:
    data = image.read_bytes()
    rows = [
        (offset, size, hashlib.sha256(data[offset : offset + size]).hexdigest())
        for offset, size in extents
    ]
    path = image.with_name(f"{image.name}.bmap")
    path.write_bytes(bmap_xml(len(data), rows))
    return path


def test_holes_are_left_out(tmp_path: Path) -> None:
    image = _image(
        tmp_path / "i", 40 * BLOCK_BYTES, (5 * BLOCK_BYTES, b"x"), (39 * BLOCK_BYTES, b"y")
    )
    blocks = read_blocks(image, None)
    assert blocks.mapped == (0, 5, 39)
    assert blocks.digests[1] == wire.digest(b"x" + bytes(BLOCK_BYTES - 1))
    assert blocks.size_bytes == 40 * BLOCK_BYTES


def test_extents_are_widened_to_blocks(tmp_path: Path) -> None:
    image = _image(tmp_path / "i", 10 * BLOCK_BYTES)
    assert read_blocks(image, [(BLOCK_BYTES - 1, 2), (0, 0)]).mapped == (0, 1)
    assert read_blocks(image, [(9 * BLOCK_BYTES, BLOCK_BYTES), (10, 1)]).mapped == (0, 9)
    assert read_blocks(image, []).mapped == (0,)
    for bad in ((-1, 1), (0, -1), (0, 10 * BLOCK_BYTES + 1)):
        with pytest.raises(UserError, match="outside of the image"):
            read_blocks(image, [bad])


@pytest.mark.parametrize("size", [0, 100, 513])
def test_what_is_no_disk_image(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match="is no disk image"):
        read_blocks(_image(tmp_path / "i", size), None)
    with pytest.raises(UserError, match="cannot be read"):
        read_blocks(tmp_path / "absent", None)


def test_a_block_map_beside_the_image_is_used(tmp_path: Path) -> None:
    image = _image(tmp_path / "i", 40 * BLOCK_BYTES, (0, b"a" * 9), (7 * BLOCK_BYTES, b"b" * 99))
    bmap = _bmap(image, [(0, KIB4), (7 * BLOCK_BYTES, 2 * KIB4), (20 * BLOCK_BYTES, KIB4)])
    assert image_blocks(image).mapped == (0, 7, 20)
    with image.open("r+b") as file:
        file.seek(7 * BLOCK_BYTES)
        file.write(b"c")
    with pytest.raises(UserError, match="are not those that") as caught:
        image_blocks(image)
    assert str(bmap) in (caught.value.hint or "")
    bmap.unlink()
    assert image_blocks(image).mapped == (0, 7)
    _bmap(image, [(0, KIB4)])
    _image(image, 41 * BLOCK_BYTES)
    with pytest.raises(UserError, match="is for an image of"):
        image_blocks(image)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=12),
    st.integers(1, KIB4 // 512),
)
def test_block_maps_are_read_as_they_were_written(
    tmp_path: Path, gaps: list[tuple[int, int]], last: int
) -> None:
    extents, at = [], 0
    for gap, length in gaps:
        at += gap + 1
        extents.append((at * KIB4, length * KIB4))
        at += length
    size = at * KIB4 + last * 512
    rows = [(offset, length, "ab" * 32) for offset, length in extents]
    bmap = parse_bmap(bmap_xml(size, rows), "x.bmap")
    assert list(bmap.extents) == extents
    assert bmap.size_bytes == size
    assert set(bmap.checksums) <= {"ab" * 32}


def test_the_last_extent_ends_with_the_image(tmp_path: Path) -> None:
    image = _image(tmp_path / "i", KIB4 + 512, (KIB4, b"x" * 512))
    bmap = _bmap(image, [(KIB4, 512)])
    assert read_bmap(bmap).extents == ((KIB4, 512),)
    check_bmap(image, read_bmap(bmap), bmap)


@given(st.binary(max_size=300))
def test_noise_is_no_block_map(data: bytes) -> None:
    with pytest.raises(UserError, match="damaged block map"):
        parse_bmap(data, "x.bmap")


GOOD = bmap_xml(64 * KIB4, [(0, KIB4, "ab" * 32), (8 * KIB4, 4 * KIB4, "cd" * 32)]).decode()
PLAIN = "\n".join(line for line in GOOD.splitlines() if "BmapFileChecksum" not in line)

BOMB = '<!DOCTYPE bmap [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE bmap SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PLAIN.replace("<bmap", BOMB + "<bmap"), "no place here"),
        (PLAIN.replace("<bmap", OUTSIDE + "<bmap"), "no place here"),
        (PLAIN.replace('"2.0"', '"1.3"'), "only bmap 2"),
        (PLAIN.replace("bmap", "html"), "only bmap 2"),
        (PLAIN.replace("> 64 <", "> sixty <"), "not a number"),
        (PLAIN.replace("> 64 <", "> 65 <"), "does not fit ImageSize"),
        (PLAIN.replace("> 5 <", "> 6 <"), "does not fit the ranges"),
        (PLAIN.replace("> 4096 <", "> 0 <"), "cannot be"),
        (PLAIN.replace("8-11", "61-64"), "out of order or of the image"),
        (PLAIN.replace("8-11", "11-8"), "out of order"),
        (PLAIN.replace("8-11", "0-3"), "out of order"),
        (PLAIN.replace("8-11", "eight"), "a range"),
        (PLAIN.replace("8-11", "-1"), "a range"),
        (PLAIN.replace("8-11", "٨-٩"), "a range"),
        (PLAIN.replace("8-11", "9" * 5000), "a range"),
        (PLAIN.replace("</bmap>", ""), "damaged"),
        (PLAIN.replace("<BlockMap>", "<a>" * 50), "too deep"),
        (GOOD.replace("8-11", "8-10").replace("> 5 <", "> 4 <"), "its own checksum"),
        ("", "damaged"),
    ],
)
def test_damaged_block_maps(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        parse_bmap(text.encode(), "x.bmap")
    assert "x.bmap" in caught.value.message and caught.value.hint


def test_good_ones_and_too_big_ones() -> None:
    assert parse_bmap(GOOD.encode(), "x").extents == parse_bmap(PLAIN.encode(), "x").extents
    with pytest.raises(UserError, match="no block map"):
        parse_bmap(bytes((32 << 20) + 1), "x")
