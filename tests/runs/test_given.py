# SPDX-License-Identifier: Apache-2.0
"""An image that is named must be the one that its record tells of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farm.build.record import BuildRecord, record_path
from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.image.card import CardFile, write_card
from farm.runs.given import given_record


def _make(path: Path, contents: bytes) -> Path:
    card = write_card(path, [CardFile("a.txt", (contents,))], label="FARM", key="x")
    record = BuildRecord(
        name="a",
        assembly="a.yml",
        board="rpi4",
        boards=("rpi4",),
        arch=Arch.ARM64,
        digest=card.digest,
        size_bytes=card.size_bytes,
        kernel="farm/debian",
        kernel_release="6.12",
        cmdline="",
        init_images=(),
        onboot=(),
        services=(),
        packages=(),
        parts=(),
    )
    record_path(path).write_text(record.model_dump_json())
    return path


def _beside(image: Path, suffix: str) -> Path:
    return image.with_name(image.name + suffix)


def test_a_record_of_its_own(tmp_path: Path) -> None:
    image = _make(tmp_path / "a.img", b"one")
    record = given_record(image)
    assert record is not None and record.digest.startswith("sha256:")
    record_path(image).unlink()
    assert given_record(image) is None


@pytest.mark.parametrize(
    ("stale", "message"),
    [
        ([".json"], "record of another image"),
        ([".bmap"], "record of another image"),
        ([".json", ".bmap"], "are not those that"),
    ],
)
def test_what_is_another_images_is_told(tmp_path: Path, stale: list[str], message: str) -> None:
    image, old = _make(tmp_path / "a.img", b"one"), _make(tmp_path / "b.img", b"two")
    for suffix in stale:
        shutil.copy(_beside(old, suffix), _beside(image, suffix))
    with pytest.raises(UserError, match=message) as caught:
        given_record(image)
    assert caught.value.hint


def test_a_record_without_block_map_cannot_be_checked(tmp_path: Path) -> None:
    image = _make(tmp_path / "a.img", b"one")
    _beside(image, ".bmap").unlink()
    with pytest.raises(UserError, match=r"a\.img\.bmap"):
        given_record(image)
