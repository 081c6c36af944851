# SPDX-License-Identifier: Apache-2.0
"""What can go wrong on a bench beyond `BenchError` itself. Pure: the host's agent imports it."""

from __future__ import annotations

from farm.core.errors import BenchError


class BusyError(BenchError):
    """A target is leased by somebody else.

    Args:
        holder: the lease's owner.
        since: when it was taken, in seconds of the epoch.
        reason: what it was taken for.
    """

    def __init__(
        self, message: str, *, hint: str | None, holder: str, since: float, reason: str
    ) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.since = since
        self.reason = reason


class LeaseLostError(BenchError):
    """The lease ended while it was in use: nothing may be done to the target any more."""


class RefusedError(BenchError):
    """The bench will not do it as things stand, e.g. power on while the host has the card."""
