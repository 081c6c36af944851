# SPDX-License-Identifier: Apache-2.0
"""Who may use which target, and who waits for it. Pure.

A lease belongs to the channel that asked for it: it ends with the channel, or when the channel
was silent for too long. Nobody can end another's lease; a killed run's lease ends by itself.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from farm.bench.errors import BusyError
from farm.bench.protocol import LEASE_DEAD_S, LeaseInfo


@dataclass
class Lease:
    """The right of one channel to use one target.

    Args:
        secret: what its holder shows to whatever switches the target; it ends with the lease.
        over: its holder is gone, and the target is being switched off for the next one.
    """

    target: str
    holder: Hashable
    info: LeaseInfo
    beat_s: float
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    over: bool = False


@dataclass(eq=False)
class Ticket:
    """A place in the queue for any of some targets.

    Args:
        granted: called once, with the lease, when it is this ticket's turn.
        moved: called when the place changed, with the new one (1 is next).
    """

    targets: tuple[str, ...]
    holder: Hashable
    owner: str
    reason: str
    granted: Callable[[Lease], None]
    moved: Callable[[int], None]
    place: int = field(default=0)


class LeaseTable:
    """All leases and tickets of one host; only called from the event loop.

    Args:
        clock: monotonic seconds, for the heartbeat.
        wall: seconds of the epoch, for people.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._leases: dict[str, Lease] = {}
        self._queue: list[Ticket] = []

    def take(self, targets: Iterable[str], holder: Hashable, owner: str, reason: str) -> Lease:
        """Give the first free one of `targets`.

        Raises:
            BusyError: all are taken; it tells of the lease that is oldest.
        """
        wanted = tuple(targets)
        for target in wanted:
            if target not in self._leases:
                return self._give(target, holder, owner, reason)
        raise self._busy(wanted)

    def wait(self, ticket: Ticket) -> None:
        """Put a ticket at the end of the queue; granted at once where a target is free."""
        self._queue.append(ticket)
        self._settle()

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out of the queue."""
        if ticket in self._queue:
            self._queue.remove(ticket)
            self._settle()

    def release(self, target: str, holder: Hashable) -> bool:
        """End a lease, if it is the holder's own; returns whether it was."""
        lease = self._leases.get(target)
        if lease is None or lease.holder != holder:
            return False
        del self._leases[target]
        self._settle()
        return True

    def drop_tickets(self, holder: Hashable) -> None:
        """Take a holder whose channel is gone out of the queue."""
        self._queue = [ticket for ticket in self._queue if ticket.holder != holder]
        self._settle()

    def drop(self, holder: Hashable) -> tuple[Lease, ...]:
        """End everything of a holder whose channel is gone; returns its leases."""
        self._queue = [ticket for ticket in self._queue if ticket.holder != holder]
        gone = self.held_by(holder)
        for lease in gone:
            del self._leases[lease.target]
        self._settle()
        return gone

    def beat(self, holder: Hashable) -> None:
        """The holder lives."""
        for lease in self.held_by(holder):
            lease.beat_s = self._clock()

    def dead(self) -> tuple[Lease, ...]:
        """The leases whose holder was silent for too long; they are not ended here."""
        limit = self._clock() - LEASE_DEAD_S
        return tuple(
            lease for lease in self._leases.values() if lease.beat_s < limit and not lease.over
        )

    def allows(self, target: str, secret: str) -> bool:
        """Whether a secret is that of the target's lease."""
        lease = self._leases.get(target)
        if lease is None or lease.over:
            return False
        return hmac.compare_digest(secret.encode(errors="replace"), lease.secret.encode())

    def held_by(self, holder: Hashable) -> tuple[Lease, ...]:
        """The leases of a holder."""
        return tuple(lease for lease in self._leases.values() if lease.holder == holder)

    def lease_of(self, target: str) -> Lease | None:
        """The lease of a target, or None where it is free."""
        return self._leases.get(target)

    def queue_of(self, target: str) -> tuple[str, ...]:
        """The owners who wait for a target, first to last."""
        return tuple(ticket.owner for ticket in self._queue if target in ticket.targets)

    def _give(self, target: str, holder: Hashable, owner: str, reason: str) -> Lease:
        info = LeaseInfo(owner, reason, self._wall())
        lease = Lease(target, holder, info, self._clock())
        self._leases[target] = lease
        return lease

    def _settle(self) -> None:
        for ticket in tuple(self._queue):
            free = next((name for name in ticket.targets if name not in self._leases), None)
            if free is not None:
                self._queue.remove(ticket)
                ticket.granted(self._give(free, ticket.holder, ticket.owner, ticket.reason))
        for ticket in self._queue:
            place = 1 + sum(
                not set(other.targets).isdisjoint(ticket.targets)
                for other in self._queue[: self._queue.index(ticket)]
            )
            if place != ticket.place:
                ticket.place = place
                ticket.moved(place)

    def _busy(self, targets: tuple[str, ...]) -> BusyError:
        lease = min((self._leases[name] for name in targets), key=lambda found: found.info.since)
        info = lease.info
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(info.since))
        others = f" (and {len(targets) - 1} more are taken)" if len(targets) > 1 else ""
        return BusyError(
            f"{lease.target} is leased by {info.owner} since {since}, for: {info.reason}{others}",
            hint="wait for it (--wait SECONDS), or ask its owner; "
            "a lease ends by itself when its run ends or dies",
            holder=info.owner,
            since=info.since,
            reason=info.reason,
        )
