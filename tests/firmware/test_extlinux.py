# SPDX-License-Identifier: Apache-2.0
"""U-Boot's distro boot, as the virtual board does it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.firmware.boot import BootOutcome, boot_card
from farm.firmware.console import handed_over, is_firmware_line, stopped
from farm.firmware.extlinux import MAX_LABELS, parse_extlinux
from tests.firmware.cards import ARM64_KERNEL, DEVICE_TREE, START, board, make_card

KIND = "extlinux"
CONF = """
default farm
timeout 30
label old
    kernel /old
LABEL farm
\tMENU LABEL farm on virt
    LINUX /Image.gz
    initrd /initrd.img
    append console=ttyAMA0 quiet
"""
PACKED = gzip.compress(ARM64_KERNEL, mtime=0)
FILES = {"extlinux/extlinux.conf": CONF.encode(), "Image.gz": PACKED, "initrd.img": b"initrd"}


def power_on(path: Path, files: dict[str, bytes]) -> BootOutcome:
    card = make_card(path / "card", files)
    outcome = boot_card(board("qemu-arm64"), card.path)
    assert all(is_firmware_line(KIND, line) for line in outcome.log), outcome.log
    last = outcome.log[-1]
    assert handed_over(KIND, last) == (outcome.plan is not None)
    assert stopped(KIND, last) == outcome.reason
    return outcome


def test_the_kernel_gets_exactly_what_is_on_the_card(tmp_path: Path) -> None:
    outcome = power_on(tmp_path, FILES)
    plan = outcome.plan
    assert plan is not None
    assert (plan.kernel, plan.initrd, plan.device_tree) == (PACKED, b"initrd", None)
    assert plan.cmdline == "console=ttyAMA0 quiet"
    assert outcome.log[2:] == (
        "Scanning virtio 0:1...",
        "Found /extlinux/extlinux.conf",
        "Retrieving file: /extlinux/extlinux.conf",
        "1:\tfarm on virt",
        "Retrieving file: /Image.gz",
        "Retrieving file: /initrd.img",
        "append: console=ttyAMA0 quiet",
        "   Uncompressing Kernel Image",
        "Starting kernel ...",
    )


@pytest.mark.parametrize("missing", ["Image.gz", "initrd.img"])
def test_the_next_label_is_tried_where_a_file_is_missing(tmp_path: Path, missing: str) -> None:
    files = {**FILES, "old": ARM64_KERNEL}
    del files[missing]
    outcome = power_on(tmp_path, files)
    assert outcome.plan is not None and outcome.plan.kernel == ARM64_KERNEL
    assert f"Failed to load '/{missing}'" in outcome.log
    assert "Skipping farm for failure" in outcome.log


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    outcome = power_on(tmp_path, {"extlinux/extlinux.conf": CONF.encode()})
    assert outcome.reason == "label farm: /Image.gz: not found; label old: /old: not found"
    outcome = power_on(tmp_path, {"other": b"x"})
    assert outcome.reason == "partition 1: /extlinux/extlinux.conf: not found"
    outcome = power_on(tmp_path, {"extlinux/extlinux.conf": b"timeout 3\n"})
    assert outcome.reason == "/extlinux/extlinux.conf: no label"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    conf = b"label x\n kernel ../Image\n fdt dtbs/x.dtb\n"
    files = {"boot/extlinux/extlinux.conf": conf, "boot/extlinux/dtbs/x.dtb": DEVICE_TREE}
    outcome = power_on(tmp_path, {**files, "boot/Image": ARM64_KERNEL})
    # No climbing: FAT has no path above, and U-Boot's own would be another folder's.
    assert outcome.reason == "label x: /boot/extlinux/../Image: not found"
    conf = b"label x\n kernel Image\n fdt dtbs/x.dtb\n"
    files["boot/extlinux/extlinux.conf"] = conf
    outcome = power_on(tmp_path, {**files, "boot/extlinux/Image": ARM64_KERNEL})
    assert outcome.plan is not None and outcome.plan.device_tree == DEVICE_TREE


def test_only_the_bootable_partition_is_looked_at(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", FILES)
    with card.path.open("r+b") as file:
        file.seek(446)
        file.write(b"\0")
    assert boot_card(board("qemu-arm64"), card.path).plan is not None
    with card.path.open("r+b") as file:
        entry = bytearray(16)
        entry[0], entry[4], entry[8], entry[12] = 0x80, 0x83, 1, 1
        file.seek(462)
        file.write(entry)
    outcome = boot_card(board("qemu-arm64"), card.path)
    assert outcome.reason == "partition 2: type 0x83 is no FAT"


def test_a_damaged_card_is_an_outcome(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", FILES)
    with card.path.open("r+b") as file:
        file.seek(START)
        file.write(bytes(512))
    outcome = boot_card(board("qemu-arm64"), card.path)
    assert outcome.reason == "partition 1: boot sector: empty: no filesystem"


@given(st.text())
def test_any_text_is_parsed(text: str) -> None:
    conf = parse_extlinux(text)
    assert sorted(id(label) for label in conf.order) == sorted(id(label) for label in conf.labels)


def test_labels_end() -> None:
    assert len(parse_extlinux("label x\n" * 1000).labels) == MAX_LABELS
