# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own lines say.

Source of the texts: kernel/panic.c, kernel/reboot.c, kernel/rcu/tree_stall.h,
kernel/watchdog.c, lib/bug.c, mm/kasan/report.c and arch/*/kernel/traps.c of Linux 6.12.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Sign(StrEnum):
    """What a line of the kernel means for a boot."""

    BANNER = "banner"
    PANIC = "panic"
    PANIC_END = "panic-end"
    OOPS = "oops"
    INITRAMFS = "initramfs"
    WARNING = "warning"
    RESTART = "restart"
    POWER_OFF = "power-off"


# CONFIG_PRINTK_TIME, and the thread or CPU of CONFIG_PRINTK_CALLER.
_STAMP = re.compile(r"\[ *(\d{1,8}\.\d{6})\](?:\[ *[TC]\d+\])? ?")
_STAMP_END = re.compile(_STAMP.pattern + r"\Z")

# Init shows what a container wrote so, through the kernel's log.
_TOLD = re.compile(r"farm: \S+: ")

# Each must stand at the line's begin: what the kernel quotes is not its own.
# The first that is found decides, so the harmless ones stand before what they look like.
_SIGNS = (
    (Sign.PANIC_END, re.compile(r"---\[ end Kernel panic|Rebooting in \d+ seconds")),
    (Sign.PANIC, re.compile(r"Kernel panic - not syncing")),
    (
        Sign.INITRAMFS,
        re.compile(r"Initramfs unpacking failed|rootfs image is not initramfs"),
    ),
    (
        # A starved host makes these of a sound image.
        Sign.WARNING,
        re.compile(
            r"rcu(?:_\w+)?:? .*(?:detected stall|self-detected stall|kthread starved)"
            r"|(?:watchdog: )?BUG: (?:soft lockup|workqueue lockup)"
            r"|(?:NMI )?watchdog: (?:CPU\d+: )?Watchdog detected hard LOCKUP"
            r"|INFO: task .* blocked for more than"
            r"|hrtimer: interrupt took"
            r"|WARNING: (?:CPU|possible)"
            r"|Out of memory: Killed process|Memory cgroup out of memory"
        ),
    ),
    (
        Sign.OOPS,
        re.compile(
            r"Internal error: |Oops(?: -|:| ?\[)|kernel BUG at |BUG: "
            r"|Unable to handle kernel |Unhandled fault: |Unhandled prefetch abort"
            r"|invalid opcode: |general protection fault"
        ),
    ),
    (Sign.RESTART, re.compile(r"reboot: Restarting system")),
    (Sign.POWER_OFF, re.compile(r"reboot: (?:Power down|System halted)")),
)
_BANNER = re.compile(r"(?:Linux version \d+\.\d+|Booting Linux on physical CPU)")
_MAIN_BANNER = re.compile(r"Linux version \d+\.\d+")


def stamped(text: str) -> bool:
    """Whether the line has the kernel's own time in it."""
    return _STAMP.search(text) is not None


def stamped_at(text: str, at: int) -> bool:
    """Whether the kernel's own time stands right before a place of the line."""
    return _STAMP_END.search(text[max(0, at - 40) : at]) is not None


def stamp_s(text: str) -> float | None:
    """The kernel's own time in a line, in seconds; None where it has none."""
    found = _STAMP.search(text)
    return float(found[1]) if found else None


def begins_kernel(text: str) -> bool:
    """Whether the line is one of the first that a kernel writes."""
    return _BANNER.match(_own(text)) is not None


class KernelReader:
    """Finds signs in a boot's lines.

    Once a kernel has shown that it stamps its lines, unstamped ones are not its own: a
    service that prints "Kernel panic" is no panic.
    """

    def __init__(self) -> None:
        self._stamps = False
        self.latest_s = 0.0

    def sign(self, text: str) -> Sign | None:
        """Return what `text` means, or None where it means nothing."""
        at_s = stamp_s(text)
        if at_s is not None:
            self._stamps = True
            self.latest_s = max(self.latest_s, at_s)
        elif self._stamps:
            return None
        own = _own(text)
        if _TOLD.match(own) or _TOLD.match(text.strip()):
            return None
        if _MAIN_BANNER.match(own):
            return Sign.BANNER
        return next((sign for sign, pattern in _SIGNS if pattern.match(own)), None)


def _own(text: str) -> str:
    """The text after the kernel's stamp; other output may stand before it on the line."""
    found = _STAMP.search(text)
    return text[found.end() :] if found else text.strip()
