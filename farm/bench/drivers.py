# SPDX-License-Identifier: Apache-2.0
"""What a run does to a target, as small protocols; each driver of `bench.yml` is one of them.

`docs/adding-a-driver.md` shows how one is written. Every method may raise BenchError, whose
message names the host, the target and the step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ConsoleChunk:
    """Some bytes of a console.

    Args:
        data: the bytes; b"" is a tick of the target's clock, at least twice a second.
        clock_s: the target's own clock, in seconds; only differences mean something.
        wall: when the bytes arrived, in seconds of the epoch.
    """

    data: bytes
    clock_s: float
    wall: float


class Power(Protocol):
    """Switches a target's supply."""

    async def on(self) -> None:
        """Switch on; the console is open and drained before."""

    async def off(self) -> None:
        """Switch off; nothing runs any more when it returns."""

    async def state(self) -> str:
        """Return "on", "off", or "fault: " and what is wrong."""


class Storage(Protocol):
    """Switches a target's card between the bench host and the board."""

    async def to_host(self) -> str:
        """Give the card to the bench host and return its path there."""

    async def to_board(self) -> None:
        """Give the card to the board; its path on the host is gone afterwards."""


class Console(Protocol):
    """A target's serial console."""

    def chunks(self) -> AsyncIterator[ConsoleChunk]:
        """What the console says from now on; it ends with the lease, by an error."""

    async def write(self, data: bytes) -> None:
        """Send bytes to the target as if typed."""


class Network(Protocol):
    """The way to a target's TCP ports."""

    async def endpoint(self, port: int) -> tuple[str, int]:
        """Return address and port at which this machine reaches the target's `port`."""
