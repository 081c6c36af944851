# SPDX-License-Identifier: Apache-2.0
"""How fast work goes of late, and when it will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_WINDOW_S = 5.0


class Rate:
    """Bytes a second over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, done_bytes: int) -> None:
        """Say how many bytes are done in all."""
        now = self._clock()
        self._seen.append((now, done_bytes))
        while len(self._seen) > 2 and now - self._seen[1][0] > _WINDOW_S:
            self._seen.popleft()

    def note(self, left_bytes: int) -> str:
        """Return rate and time left, for a person."""
        if len(self._seen) < 2:
            return "starting"
        (begin, first), (end, last) = self._seen[0], self._seen[-1]
        if end <= begin or last <= first:
            return "waiting"
        rate = (last - first) / (end - begin)
        return f"{rate / 1e6:.1f} MB/s, {_time(left_bytes / rate)} left"


def _time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60} s"
