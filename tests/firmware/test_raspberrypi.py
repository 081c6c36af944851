# SPDX-License-Identifier: Apache-2.0
"""What the virtual Raspberry Pis make of cards, good and bad."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.firmware.boot import BootOutcome, boot_card, boot_real
from farm.firmware.console import handed_over, is_firmware_line, stopped
from farm.firmware.mbr import Partition, table_bytes
from tests.firmware.cards import ARM64_KERNEL, CONFIG, DEVICE_TREE, board, make_card, pi_files

KIND = "raspberrypi"
BOARDS = ("rpi3", "rpi4")


def power_on(path: Path, name: str, files: dict[str, bytes], *, fat: int = 32) -> BootOutcome:
    card = make_card(path / "card", files, fat=fat, options=("-s", "1") if fat == 32 else ())
    outcome = boot_real(board(name), card.path)
    assert all(is_firmware_line(KIND, line) for line in outcome.log), outcome.log
    assert (outcome.plan is None) == (outcome.reason is not None)
    reasons = [reason for line in outcome.log if (reason := stopped(KIND, line))]
    # The console is all that a verdict has: what it reads there must name the same thing.
    assert bool(reasons) == (outcome.plan is None)
    if outcome.reason:
        assert outcome.log[-1] == f"firmware stopped: {outcome.reason}"
    assert any(handed_over(KIND, line) for line in outcome.log) == (outcome.plan is not None)
    return outcome


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("fat", [16, 32])
def test_the_kernel_gets_exactly_what_is_on_the_card(tmp_path: Path, name: str, fat: int) -> None:
    outcome = power_on(tmp_path, name, pi_files(), fat=fat)
    assert outcome.plan is not None
    assert outcome.plan.kernel == ARM64_KERNEL
    assert outcome.plan.initrd == b"initrd" * 500
    assert outcome.plan.device_tree == DEVICE_TREE + name[-1:].encode()
    assert outcome.plan.cmdline == "console=ttyAMA0,115200 console=ttyS1,115200 panic=10"
    assert outcome.warnings == ()


def test_a_pi_4_says_what_a_pi_4_says(tmp_path: Path) -> None:
    log = "\n".join(power_on(tmp_path, "rpi4", pi_files()).log)
    time = r"MESS:00:00:\d\d\.\d{6}:0: "
    for line in (
        r"^Boot mode: SD \(01\) order f1$",
        r"^MBR: 0x00000800,   81920 type: 0x0c$",
        r"^Read config\.txt bytes      114$",
        r"^Read start4\.elf bytes       10$",
        r"^Starting start4\.elf @ 0x[0-9a-f]+ partition 0$",
        rf"^{time}brfs: File read: /mfs/sd/config\.txt$",
        rf"^{time}brfs: File read: 114 bytes$",
        rf"^{time}Loaded 'initrd\.img' to 0x0 size 0xbb8$",
        rf"^{time}initramfs loaded to 0x[0-9a-f]+ \(size 0xbb8\)$",
        rf"^{time}dtb_file 'bcm2711-rpi-4-b\.dtb'$",
        rf"^{time}Read command line from file 'cmdline\.txt':$",
        rf"^{time}'console=ttyAMA0,115200 console=ttyS1,115200 panic=10'$",
        rf"^{time}Loaded 'kernel8\.img' to 0x200000 size 0x17ac$",
        rf"^{time}uart: Baud rate change done\.\.\.$",
    ):
        assert re.search(line, log, re.MULTILINE), line


def test_a_pi_3_begins_with_its_boot_code(tmp_path: Path) -> None:
    log = power_on(tmp_path, "rpi3", pi_files()).log
    assert log[:4] == (
        "Raspberry Pi Bootcode",
        "Read File: config.txt, 114",
        "Read File: start.elf, 10 (bytes)",
        "Read File: fixup.dat, 7 (bytes)",
    )


def test_the_same_card_gives_the_same_log(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", pi_files()).path
    assert boot_real(board("rpi4"), card) == boot_real(board("rpi4"), card)


@pytest.mark.parametrize(
    ("name", "file", "reason"),
    [
        ("rpi4", "start4.elf", "start4.elf: not found on partition 1 (Raspberry Pi 4 Model B"),
        ("rpi3", "start.elf", "start.elf: not found on partition 1 (Raspberry Pi 3 Model B"),
        ("rpi3", "bootcode.bin", "bootcode.bin: not found on partition 1"),
        ("rpi4", "kernel8.img", "kernel8.img: not found: no kernel to start"),
        ("rpi4", "initrd.img", "initrd.img: not found (initrd named in config.txt)"),
        ("rpi4", "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb: not found (no 64-bit Linux"),
        ("rpi3", "bcm2837-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb and bcm2710-rpi-3-b.dtb: not found"),
    ],
)
def test_a_missing_file_stops_it_and_is_named(
    tmp_path: Path, name: str, file: str, reason: str
) -> None:
    outcome = power_on(tmp_path, name, pi_files(**{file: None}))
    assert outcome.reason is not None and outcome.reason.startswith(reason)
    first = next(found for line in outcome.log if (found := stopped(KIND, line)))
    assert file in first


@pytest.mark.parametrize("name", BOARDS)
def test_files_of_the_other_model_are_not_missed(tmp_path: Path, name: str) -> None:
    others = {
        "rpi3": ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb"),
        "rpi4": ("bootcode.bin", "start.elf", "fixup.dat", "bcm2837-rpi-3-b.dtb"),
    }
    outcome = power_on(tmp_path, name, pi_files(**dict.fromkeys(others[name])))
    assert outcome.plan is not None and outcome.warnings == ()


def with_config(*lines: str, **files: bytes | None) -> dict[str, bytes]:
    return pi_files(**{"config.txt": "\n".join(lines).encode(), **files})


def test_defaults_without_a_config(tmp_path: Path) -> None:
    files = pi_files(**{"config.txt": None})
    outcome = power_on(tmp_path, "rpi4", files)
    assert outcome.plan is not None and outcome.plan.initrd is None
    assert outcome.plan.kernel == ARM64_KERNEL
    assert any("uart_2ndstage=1 is not set" in text for text in outcome.warnings)
    # A Pi 3 is a 32-bit machine unless it is told.
    outcome = power_on(tmp_path, "rpi3", {**files, "bcm2710-rpi-3-b.dtb": DEVICE_TREE})
    assert outcome.reason == "kernel7.img: not found: no kernel to start"


def test_a_64_bit_kernel_in_32_bit_mode_is_told(tmp_path: Path) -> None:
    files = with_config("upstream_kernel=1", "kernel=vmlinuz", vmlinuz=ARM64_KERNEL)
    outcome = power_on(tmp_path, "rpi3", files)
    assert outcome.reason == (
        "config.txt: vmlinuz would be started in 32-bit mode, and rpi3 is a board for 64-bit "
        "kernels: set arm_64bit=1"
    )
    assert power_on(tmp_path, "rpi4", files).plan is not None
    # The names that the firmware knows decide by themselves.
    files = with_config("upstream_kernel=1", "kernel=kernel8.img")
    assert power_on(tmp_path, "rpi3", files).plan is not None


def test_a_prefix_holds_where_there_is_a_kernel(tmp_path: Path) -> None:
    slot = {
        "b/kernel8.img": b"other" + ARM64_KERNEL,
        "b/cmdline.txt": b"from b",
        "b/bcm2711-rpi-4-b.dtb": DEVICE_TREE + b"b",
        "b/ramfs": b"in b",
    }
    lines = ("os_prefix=b/", "initramfs ramfs followkernel")
    outcome = power_on(tmp_path, "rpi4", with_config(*lines, **slot))
    assert outcome.plan is not None
    assert outcome.plan.kernel.startswith(b"other") and outcome.plan.cmdline == "from b"
    assert outcome.plan.initrd == b"in b" and outcome.plan.device_tree == DEVICE_TREE + b"b"
    outcome = power_on(tmp_path, "rpi4", with_config("os_prefix=c/", **slot))
    assert outcome.plan is not None and outcome.plan.kernel == ARM64_KERNEL
    assert any("os_prefix 'c/' is ignored" in line for line in outcome.log)


def test_the_initramfs_of_the_kernel_is_found(tmp_path: Path) -> None:
    files = with_config("auto_initramfs=1", initramfs8=b"eight")
    outcome = power_on(tmp_path, "rpi4", files)
    assert outcome.plan is not None and outcome.plan.initrd == b"eight"


def test_several_initramfs_become_one(tmp_path: Path) -> None:
    files = with_config("initramfs a,b followkernel", a=b"first", b=b"second")
    outcome = power_on(tmp_path, "rpi4", files)
    assert outcome.plan is not None and outcome.plan.initrd == b"firstsecond"


def test_without_a_command_line_the_kernel_gets_none(tmp_path: Path) -> None:
    outcome = power_on(tmp_path, "rpi4", pi_files(**{"cmdline.txt": None}))
    assert outcome.plan is not None and outcome.plan.cmdline == ""
    assert outcome.warnings == ("cmdline.txt: not found: the kernel gets no console from it",)
    assert any("Failed to open command line file 'cmdline.txt'" in x for x in outcome.log)


def test_only_the_first_line_of_the_command_line_counts(tmp_path: Path) -> None:
    outcome = power_on(tmp_path, "rpi4", pi_files(**{"cmdline.txt": b"one\r\ntwo\n"}))
    assert outcome.plan is not None and outcome.plan.cmdline == "one"
    assert outcome.warnings == ("cmdline.txt: only the first line counts",)


def test_a_command_line_cannot_write_to_the_console(tmp_path: Path) -> None:
    outcome = power_on(tmp_path, "rpi4", pi_files(**{"cmdline.txt": b"a \x1b[2J b"}))
    assert all(line.isprintable() for line in outcome.log)


def test_overlays_are_not_applied_and_that_is_said(tmp_path: Path) -> None:
    outcome = power_on(tmp_path, "rpi4", with_config(CONFIG, "dtoverlay=disable-bt"))
    assert outcome.warnings == ("config.txt: dtoverlay=disable-bt: overlays are not modelled",)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"kernel8.img": b""}, "kernel8.img: empty"),
        ({"start4.elf": b""}, "start4.elf: empty"),
        ({"bcm2711-rpi-4-b.dtb": b"no tree"}, "/bcm2711-rpi-4-b.dtb: not a device tree"),
        ({"bcm2711-rpi-4-b.dtb": DEVICE_TREE[:50]}, "a device tree of 64 bytes in a file of 50"),
        ({"kernel8.img": None, "kernel8.img/x": b"x"}, "kernel8.img: not found"),
        ({"config.txt": b"device_tree=\nkernel=kernel8.img"}, "config.txt: device_tree= is empty"),
        ({"config.txt": bytes(70_000)}, "/config.txt: 70000 bytes, more than the 65536"),
    ],
)
def test_files_of_no_use(tmp_path: Path, files: dict[str, bytes | None], reason: str) -> None:
    outcome = power_on(tmp_path, "rpi4", pi_files(**files))
    assert outcome.reason is not None and reason in outcome.reason


def test_what_does_not_fit_into_memory_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.firmware.raspberrypi._MIB", 4)
    outcome = power_on(tmp_path, "rpi4", pi_files())
    assert outcome.reason is not None
    assert "/kernel8.img: 6060 bytes, more than the 5192 that may be read" in outcome.reason


def test_a_damaged_card_is_an_outcome(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", pi_files())
    clusters = card.clusters("kernel8.img")
    card.link(clusters[3], clusters[1])
    outcome = boot_card(board("rpi4"), card.path)
    assert outcome.reason == (
        f"partition 1: /kernel8.img: the chain loops at cluster {clusters[1]}"
    )
    assert stopped(KIND, outcome.log[-1]) == outcome.reason
    empty = tmp_path / "empty"
    with empty.open("wb") as file:
        file.truncate(1 << 20)
    assert str(boot_card(board("rpi3"), empty).reason).startswith("sector 0: empty: a blank card")


def test_a_card_without_a_fat_partition(tmp_path: Path) -> None:
    path = tmp_path / "card"
    path.write_bytes(table_bytes(1, [Partition(1, 0x83, 1, 1)]) + bytes(512))
    outcome = boot_card(board("rpi4"), path)
    assert outcome.reason == "no FAT partition in the table (1: 0x83)"
