# SPDX-License-Identifier: Apache-2.0
"""Telling a firmware's lines from a kernel's, on lines that real boards printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.firmware.console import handed_over, is_firmware_line, proves_firmware, stopped

REAL = {
    "raspberrypi": (
        "Raspberry Pi Bootcode",
        "Read File: config.txt, 987",
        "Read File: start.elf, 2980544 (bytes)",
        "MESS:00:00:04.185459:0: brfs: File read: /mfs/sd/config.txt",
        "MESS:00:00:02.399030:0: dterror: Failed to load Device Tree file '?'",
        "  4.07 [sdcard] vl805.bin not found",
        "  4.46 Read start4.elf bytes  2263776 hnd 0x8a",
        "  4.89 Starting start4.elf @ 0xfec00200 partition 1",
        "Boot mode: SD (01) order f4",
        "MBR: 0x0000c000,   81920 type: 0x0c",
    ),
    "extlinux": (
        "U-Boot 2024.01 (Jan 01 2024 - 00:00:00 +0000)",
        "Hit any key to stop autoboot:  0",
        "Scanning mmc 0:2...",
        "Found /extlinux/extlinux.conf",
        "Retrieving file: /Image",
        "append: earlyprintk rw root=/dev/mmcblk0p3",
        "Starting kernel ...",
    ),
}
OTHERS = (
    "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]",
    "[    1.566888] pwrseq_simple wifi-pwrseq: error -EIO: reset GPIOs not ready",
    "farm/1 0a1b2c3d 1 0.86 start kernel=6.12 init=1 #00000000",
    "",
    "rpi4 login:",
)


@pytest.mark.parametrize("kind", REAL)
def test_a_firmware_is_known_by_its_lines(kind: str) -> None:
    for line in REAL[kind]:
        assert is_firmware_line(kind, line), line
        assert stopped(kind, line) is None
    for line in OTHERS:
        assert not is_firmware_line(kind, line), line
        assert not handed_over(kind, line)


@pytest.mark.parametrize("kind", REAL)
def test_why_it_stopped_is_read_off_the_line(kind: str) -> None:
    line = "firmware stopped: kernel8.img: not found: no kernel to start"
    assert is_firmware_line(kind, line)
    assert stopped(kind, line) == "kernel8.img: not found: no kernel to start"


def test_a_real_pi_4_without_firmware_on_its_card() -> None:
    assert stopped("raspberrypi", "  4.31 [sdcard] start4.elf not found") == (
        "start4.elf: not found on the card"
    )
    assert stopped("raspberrypi", "Firmware not found") == "Firmware not found"
    assert stopped("raspberrypi", "  4.12 [sdcard] recover4.elf not found") is None


def test_what_other_programs_print_too_proves_no_firmware() -> None:
    for line in ("1:\tone", "append: x", "Found /etc/passwd"):
        assert not proves_firmware("extlinux", line)
    assert is_firmware_line("extlinux", "1:\tone")
    assert proves_firmware("extlinux", "Found /extlinux/extlinux.conf")


def test_the_last_line_before_the_kernel() -> None:
    assert handed_over("raspberrypi", "MESS:00:00:59.929810:0: uart: Baud rate change done...")
    assert handed_over("extlinux", "Starting kernel ...")
    assert not handed_over("raspberrypi", "Starting kernel ...")


@given(st.text())
def test_any_line_may_come(line: str) -> None:
    for kind in REAL:
        is_firmware_line(kind, line)
        assert stopped(kind, line) is None or is_firmware_line(kind, line)
