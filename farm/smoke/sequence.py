# SPDX-License-Identifier: Apache-2.0
"""Which of the timeline's lines on a console are this boot's, and whether they are all there."""

from __future__ import annotations

from enum import Enum, auto

from farm.smoke.timeline import Event

_KEPT_BOOTS = 100
_ENOUGH = 2
"""So many lines of one other boot are no accident: the system was reset."""


class Taken(Enum):
    """What became of an event."""

    BELIEVED = auto()
    IGNORED = auto()
    ANOTHER_BOOT = auto()


class Sequence:
    """Follows the numbers of one boot's lines.

    The boot is the one of the first `start` with number 1. What comes before that is from an
    earlier boot, or its begin was lost; what comes later of another boot, with a number that was
    there, or without the kernel's stamp where others had it, is counted and not believed.
    """

    def __init__(self) -> None:
        self.boot: str | None = None
        self.stamped = False
        self.foreign_lines = 0
        self.stray_lines = 0
        self.lost: list[tuple[int, int]] = []
        self.corrupt_lines = 0
        self.corrupt_since_event = 0
        self.late = False
        self._corrupt_late = 0
        self._doubt: str | None = None
        self._events: dict[int, Event] = {}
        self._others: dict[str, int] = {}
        self.next_number = 1

    @property
    def lost_lines(self) -> int:
        """How many numbers are missing."""
        return sum(last - first + 1 for first, last in self.lost)

    @property
    def damaged(self) -> bool:
        """Whether lines did not arrive as they were written."""
        return bool(self.lost or self.corrupt_lines)

    @property
    def doubt(self) -> str | None:
        """Why the lines that were believed do not prove that all is well; None where they do."""
        if self._doubt is not None:
            return self._doubt
        if self.lost:
            first, last = self.lost[0]
            return f"timeline lines {first} to {last} never arrived"
        if self._corrupt_late:
            return "a timeline line of after the complete boot arrived damaged"
        return None

    def corrupt(self) -> None:
        """Take note of a line whose checksum or shape is wrong."""
        self.corrupt_lines += 1
        self.corrupt_since_event += 1
        self._corrupt_late += self.late

    def take(self, event: Event, *, stamped: bool) -> Taken:
        """Take an event, and whether the kernel's stamp stood before it."""
        if self.boot is None:
            if event.name != "start" or event.seq != 1:
                self.foreign_lines += 1
                self.stray_lines += 1
                return Taken.IGNORED
            self.boot = event.boot
        if self.stamped and not stamped:
            self.foreign_lines += 1
            return Taken.IGNORED
        if event.boot != self.boot:
            return self._foreign(event)
        if event.seq < self.next_number:
            self.foreign_lines += 1
            # A replay of the kernel's log says the same once more, and nobody is misled by it.
            if self._events.get(event.seq) != event:
                self._doubt = self._doubt or (
                    f"two timeline lines that differ have the number {event.seq}"
                )
            return Taken.IGNORED
        if event.seq > self.next_number:
            self.lost.append((self.next_number, event.seq - 1))
        self.next_number = event.seq + 1
        self._events[event.seq] = event
        self.stamped = self.stamped or stamped
        self.corrupt_since_event = 0
        return Taken.BELIEVED

    def _foreign(self, event: Event) -> Taken:
        self.foreign_lines += 1
        self._doubt = self._doubt or f"a timeline line of another boot ({event.boot}) came"
        count = self._others.get(event.boot, 0) + 1
        if count > 1 or len(self._others) < _KEPT_BOOTS:
            self._others[event.boot] = count
        if count >= _ENOUGH or (event.name == "start" and event.seq == 1):
            return Taken.ANOTHER_BOOT
        return Taken.IGNORED
