# SPDX-License-Identifier: Apache-2.0
"""What a firmware makes of a card: what it loads, what it says, and why it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

STOPPED = "firmware stopped: "
"""Begins the line that a virtual firmware adds to the real one's own, with the reason."""

Role = Literal["firmware", "config", "cmdline", "kernel", "initrd", "device tree"]


@dataclass(frozen=True)
class BootPlan:
    """What the kernel is started with: exactly what the firmware found on the card."""

    kernel: bytes
    initrd: bytes | None
    device_tree: bytes | None
    cmdline: str


@dataclass(frozen=True)
class LoadedFile:
    """A file that the firmware read from the card."""

    role: Role
    path: str
    size_bytes: int


@dataclass(frozen=True)
class BootOutcome:
    """The end of a firmware's work.

    Args:
        log: what it prints on the console, a line each, without line ends.
        plan: what it starts, or None where it stopped.
        reason: why it stopped, naming the file, or None.
        files: what it read, in order.
        warnings: what a person should know about this card on the real board.
    """

    log: tuple[str, ...]
    plan: BootPlan | None
    reason: str | None
    files: tuple[LoadedFile, ...] = ()
    warnings: tuple[str, ...] = ()


class FirmwareStop(Exception):
    """The firmware gives up; the message names the file."""


@dataclass
class Trace:
    """Gathers what a firmware says and reads while it works."""

    log: list[str] = field(default_factory=list)
    files: list[LoadedFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def finish(self, boot: Callable[[], BootPlan]) -> BootOutcome:
        """Run a firmware to its end and return the outcome."""
        plan: BootPlan | None = None
        reason: str | None = None
        try:
            plan = boot()
        except FirmwareStop as stop:
            reason = str(stop)
            self.log.append(f"{STOPPED}{reason}")
        return BootOutcome(tuple(self.log), plan, reason, tuple(self.files), tuple(self.warnings))
