# SPDX-License-Identifier: Apache-2.0
"""The report about any card, also one that farm did not make."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from farm.firmware.inspect import inspect
from farm.firmware.mbr import Partition, table_bytes
from tests.firmware.cards import ARM64_KERNEL, board, make_card, pi_files


def test_a_card_that_boots(tmp_path: Path) -> None:
    packed = gzip.compress(ARM64_KERNEL, mtime=0)
    card = make_card(tmp_path / "card", pi_files(**{"kernel8.img": packed}))
    report = inspect(card.path, board("rpi4"))
    assert report.boot.boots and report.boot.reason is None
    assert report.boot.kernel == "/kernel8.img"
    assert report.boot.device_tree == "/bcm2711-rpi-4-b.dtb"
    assert report.boot.initrd == ("/initrd.img",)
    assert (report.problems, report.warnings) == ((), ())
    (partition,) = report.partitions
    assert (partition.filesystem, partition.label) == ("FAT32", "TESTCARD")
    assert {file.path for file in partition.files} == {f"/{name}" for name in pi_files()}
    text = report.to_text()
    assert "rpi4: the firmware starts /kernel8.img" in text
    assert "/start4.elf" in text and "FAT32 'TESTCARD'" in text
    said = json.loads(report.to_json())
    assert said["boot"]["boots"] is True and said["partitions"][0]["number"] == 1


def test_a_card_of_another_board(tmp_path: Path) -> None:
    """As Raspberry Pi OS makes it: its own names of device trees and consoles, and overlays."""
    files = pi_files(
        **{
            "config.txt": b"dtparam=audio=on\n[cm4]\notg_mode=1\n[all]\nauto_initramfs=1\n",
            "cmdline.txt": b"console=serial0,115200 console=tty1 root=PARTUUID=x rootwait\n",
            "initrd.img": None,
            "kernel8.img": b"MZ" + bytes(200),
        }
    )
    report = inspect(make_card(tmp_path / "card", files, fat=16, options=()).path, board("rpi4"))
    assert report.boot.boots
    assert report.warnings == (
        "config.txt: dtparam=audio=on: overlays are not modelled",
        "config.txt: enable_uart=1 is not set: the board's serial console may stay silent",
        "config.txt: uart_2ndstage=1 is not set: the board's firmware will not say why it stops",
        (
            "cmdline: no console=ttyAMA0 or console=ttyS1: nothing will be seen on the serial "
            "console of rpi4"
        ),
        "/kernel8.img: not an arm64 Linux Image",
    )
    report = inspect(tmp_path / "card", board("rpi3"))
    assert (
        report.boot.reason
        == "bcm2710-rpi-3-b.dtb: not found (no 64-bit Linux starts without its device tree)"
    )
    assert "would not boot: bcm2710-rpi-3-b.dtb: not found" in report.to_text()


def test_damage_is_told_also_where_the_card_boots(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", pi_files(a=b"a" * 5000, b=b"b" * 5000))
    shared = card.clusters("b")[4]
    card.link(card.clusters("a")[3], shared)
    report = inspect(card.path, board("rpi4"))
    assert report.boot.boots
    (problem,) = report.problems
    assert problem.startswith("partition 1: /")
    assert f"cluster {shared} belongs to" in problem or "chain ends" in problem
    assert f"problem: {problem}" in report.to_text()


def test_what_is_no_card_has_a_report_too(tmp_path: Path) -> None:
    path = tmp_path / "card"
    path.write_bytes(b"\x1f\x8b" + bytes(1000))
    report = inspect(path, board("rpi4"))
    assert report.boot.reason == report.problems[0]
    assert report.problems[0].startswith("sector 0: no partition table")
    assert report.disk_id is None and report.partitions == ()
    json.loads(report.to_json())


def test_other_partitions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "card"
    partitions = [Partition(1, 0x83, 100, 100), Partition(2, 0x0C, 150, 100)]
    with path.open("wb") as file:
        file.write(table_bytes(7, [*partitions, Partition(3, 0x83, 9999999, 5)]))
        file.truncate(1 << 20)
    report = inspect(path, board("qemu-arm64"))
    assert [p.type for p in report.partitions] == ["0x83 (Linux)", "0x0c (FAT)", "0x83 (Linux)"]
    assert report.warnings == ("partitions 1 and 2 overlap",)
    assert report.problems == (
        "partition 2: boot sector: empty: no filesystem",
        "partition 3: ends at byte 5120002048, beyond the card's end at 1048576",
    )


def test_a_hostile_name_does_not_reach_the_terminal(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", pi_files(evil=b"x"))
    at = card.path.read_bytes()[: 8 << 20].rindex(b"EVIL       ") - (1 << 20)
    card.patch(at, b"E\x1b[2J")
    assert "\x1b" not in inspect(card.path, board("rpi4")).to_text()
