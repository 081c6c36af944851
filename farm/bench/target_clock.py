# SPDX-License-Identifier: Apache-2.0
"""A virtual board's own clock: it stands still while QEMU waits for a processor.

Wall time less the time that QEMU's threads were runnable and did not run. So a starved machine
makes no limit pass early, and a guest that idles still runs into its limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from farm.bench.process_table import waited_s


class TargetClock:
    """Seconds that a virtual board has had; never goes back."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[int], float] = waited_s,
    ) -> None:
        self._clock = clock
        self._waited = waited
        self._pid: int | None = None
        self._lost_s = 0.0
        self._lost_before_s = 0.0
        self._last_s = clock()

    def started(self, pid: int) -> None:
        """A QEMU process runs the board from now on."""
        self._pid = pid

    def ended(self) -> None:
        """The process is about to be reaped."""
        self.now_s()
        self._pid = None
        self._lost_before_s = self._lost_s

    def now_s(self) -> float:
        """The board's time, in seconds; only differences mean something."""
        if self._pid is not None:
            # A thread that ends takes its waiting with it: what was lost stays lost.
            self._lost_s = max(self._lost_s, self._lost_before_s + self._waited(self._pid))
        self._last_s = max(self._last_s, self._clock() - self._lost_s)
        return self._last_s
