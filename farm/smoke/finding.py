# SPDX-License-Identifier: Apache-2.0
"""What decides a boot, before the last lines of evidence are in."""

from __future__ import annotations

from dataclasses import dataclass

from farm.smoke.lines import Line
from farm.smoke.verdict import Outcome

GRACE_S = 1.0
"""How long the lines after a finding are waited for, on the target's clock."""


@dataclass(frozen=True)
class Finding:
    """Something that ends a boot.

    Args:
        outcome: what it is.
        summary: one sentence for a person, without a full stop.
        next_step: what to do next.
        step: the onboot step or service that it is about.
        since: number of the console line where the cause begins; None for the last ones.
        first: whether the beginning of the cause tells more than its end.
        grace_s: how long further lines are waited for; they may tell a graver cause.
        first_cause: whether nothing that follows can be a cause of its own.
    """

    outcome: Outcome
    summary: str
    next_step: str
    step: str = ""
    since: int | None = None
    first: bool = False
    grace_s: float = GRACE_S
    first_cause: bool = False

    @property
    def weight(self) -> int:
        """Which of two findings of one boot is its cause: the heavier one."""
        return _FIRST_CAUSE if self.first_cause else _WEIGHTS.get(self.outcome, 1)


# An oops kills a service, a panic follows an oops and ends in a reboot: each time the
# earlier link of the chain is the cause that a person wants to see.
_FIRST_CAUSE = 9
_WEIGHTS = {Outcome.PANIC: 4, Outcome.OOPS: 3, Outcome.FIRMWARE: 2}


def panic(line: Line, before: int) -> Finding:
    """The finding for a panic's first line; `before` lines are shown where init ended."""
    said = line.text[line.text.find("Kernel panic") :]
    since = line.number
    if "Unable to mount root" in said or "No working init" in said:
        advice = (
            "the kernel found no initramfs with an init in it: is it on the card, whole, and "
            "named in config.txt or extlinux.conf? `farm card inspect` tells"
        )
    elif "Attempted to kill init" in said:
        advice = "init itself ended: read what it wrote before the panic"
        since = max(1, line.number - before)
    else:
        advice = "read the call trace: its first function outside of panic() is the place"
    return Finding(Outcome.PANIC, said, advice, since=since, first=True, grace_s=2.0)


def oops(line: Line) -> Finding:
    """The finding for an oops' first line."""
    return Finding(
        Outcome.OOPS,
        f"the kernel stumbled: {line.text.split('] ', 1)[-1].strip()}",
        "read the call trace: the kernel goes on, but what it does is no longer sure; a module "
        "of the image or the kernel itself is at fault",
        since=line.number,
        first=True,
        grace_s=4.0,
    )


def initramfs(line: Line) -> Finding:
    """The finding for a kernel that could not unpack its initramfs."""
    return Finding(
        Outcome.INIT_FAILED,
        f"the kernel could not unpack all of its initramfs: {line.text.split('] ', 1)[-1].strip()}",
        "the initramfs on the card is damaged, or this kernel cannot unpack it: build the image "
        "and write the card anew; if it fails again, the card is worn out or the store is rotten",
        since=max(1, line.number - 3),
        first=True,
        first_cause=True,
    )


def other_version(version: int) -> Finding:
    """The finding for a timeline that this farm cannot read."""
    return Finding(
        Outcome.INFRASTRUCTURE,
        f"init tells its timeline in version {version} of its format, and this farm knows another",
        "use the farm that built this image, or build the image with this one",
        first_cause=True,
    )


def doubted(doubt: str) -> Finding:
    """The finding for a boot that seems good by a timeline that cannot be relied on."""
    return Finding(
        Outcome.INFRASTRUCTURE,
        f"what was read of the boot is good, but not all of it can be relied on: {doubt}",
        "check the serial line (cable, speed, power), and that nothing in the image writes lines "
        "like the timeline's; then run it again",
    )
