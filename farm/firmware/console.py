# SPDX-License-Identifier: Apache-2.0
"""How a firmware's own lines look on a console, real or virtual.

The patterns are of lines that real boards print (see the sources in `raspberrypi` and
`extlinux`), and of the one line that a virtual firmware adds where it stops.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from farm.firmware.outcome import STOPPED


@dataclass(frozen=True)
class _Patterns:
    own: re.Pattern[str]
    stopped: re.Pattern[str]
    handed_over: re.Pattern[str]
    common: re.Pattern[str]
    """Own lines that other programs print too, and that prove nothing by themselves."""


_VIRTUAL = rf"{re.escape(STOPPED)}(?P<reason>.+)"

_PATTERNS = {
    "raspberrypi": _Patterns(
        own=re.compile(
            r"\s*(?:\d+\.\d\d )?(?:"
            r"MESS:\d\d:\d\d:\d\d\.\d+:0:|Raspberry Pi Bootcode|Read File: \S+, \d+"
            r"|Read \S+ bytes +\d+|\[\S+\] \S+ not found|Boot mode: |RPi: BOOTLOADER"
            r"|MBR: 0x[0-9a-f]+,|Trying partition: |type: \d+ |Starting start\S* @|No config\.txt"
            r"|Firmware not found|stand-in: |" + re.escape(STOPPED) + ")"
        ),
        stopped=re.compile(
            rf"\s*(?:\d+\.\d\d )?(?:{_VIRTUAL}|(?P<real>Firmware not found)\s*$"
            r"|\[\S+\] (?P<missing>start4?\.elf) not found)"
        ),
        handed_over=re.compile(r"\s*MESS:[0-9:.]+: uart: Baud rate change done"),
        common=re.compile(r"\s*(?:type: \d+ |No config\.txt)"),
    ),
    "extlinux": _Patterns(
        own=re.compile(
            r"U-Boot |Hit any key to stop autoboot|Scanning \w+ \d+:\d+\.\.\."
            r"|Found /\S*extlinux\.conf\b|Retrieving file: |Failed to load '"
            r"|Skipping .+ for failure|SCRIPT FAILED"
            r"|append: |   Uncompressing Kernel Image|Starting kernel \.\.\.|\d+:\t|stand-in: |"
            + re.escape(STOPPED)
        ),
        stopped=re.compile(_VIRTUAL),
        handed_over=re.compile(r"Starting kernel \.\.\."),
        common=re.compile(r"\d+:\t|append: "),
    ),
}


def is_firmware_line(kind: str, line: str) -> bool:
    """Whether the firmware of a board printed this line.

    Args:
        kind: `firmware.kind` of the board.
        line: without its line end.
    """
    return _PATTERNS[kind].own.match(line) is not None


def proves_firmware(kind: str, line: str) -> bool:
    """Whether the firmware of a board printed this line, and hardly anything else would."""
    patterns = _PATTERNS[kind]
    return patterns.own.match(line) is not None and patterns.common.match(line) is None


def stopped(kind: str, line: str) -> str | None:
    """Return why the firmware stopped, if this line says that it did.

    A real Pi 4 says that start4.elf is not found, and goes on to the next place to boot from.
    """
    found = _PATTERNS[kind].stopped.match(line)
    if found is None:
        return None
    groups = found.groupdict()
    if missing := groups.get("missing"):
        return f"{missing}: not found on the card"
    return groups.get("reason") or groups.get("real")


def handed_over(kind: str, line: str) -> bool:
    """Whether this is the firmware's last line before the kernel's first."""
    return _PATTERNS[kind].handed_over.match(line) is not None
