# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on a board after its verdict, while tests use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.firmware import console as firmware
from farm.smoke.kernel import Sign, stamp_s, stamped
from farm.smoke.lines import LineReader
from farm.smoke.timeline import Event, parse_line

if TYPE_CHECKING:
    from farm.smoke.watch import BootWatch

MAX_PROBLEMS = 20
"""So many are kept, the first ones."""

_FATAL = {
    Sign.PANIC: "the kernel panicked",
    Sign.OOPS: "the kernel stumbled",
    Sign.RESTART: "the board restarted, and nobody asked for it",
    Sign.POWER_OFF: "the board turned itself off",
}
_FIRMWARE_LINES = 3
_EARLY_S = 1.0
_BACK_S = 1.0
"""How much older than the latest a line may be: processors write into the log side by side."""


class Vigil:
    """Reads on where a `BootWatch` ended.

    Tests type at this console: what they show, such as the kernel's log by `dmesg`, is old, and
    no event of now. So a kernel's begin counts only after firmware, and nothing counts that has
    an earlier time than what was there before.

    Args:
        watch: has seen the boot's lines.
    """

    def __init__(self, watch: BootWatch) -> None:
        self.problems: list[str] = []
        self._kind = watch.expectation.firmware_kind
        self._kernel = watch.kernel
        self._lines = watch.progress.lines
        self._reader = LineReader()
        self._firmware_lines = 0
        self._seen: int | None = None
        self._firmware_again = False

    def feed(self, data: bytes, clock_s: float, wall: float) -> None:
        """Take bytes of the console; what is wrong is added to `problems`."""
        for line in self._reader.feed(data, clock_s, wall):
            problem = self._problem(line.text)
            if problem and len(self.problems) < MAX_PROBLEMS:
                self.problems.append(f"{problem}: {line.text}")

    def _problem(self, text: str) -> str | None:
        if not stamped(text) and firmware.is_firmware_line(self._kind, text):
            return self._firmware(text)
        self._firmware_lines = 0
        said = parse_line(text)
        if isinstance(said, Event):
            return self._event(said)
        at_s, latest_s = stamp_s(text), self._kernel.latest_s
        sign = self._kernel.sign(text)
        if sign is Sign.BANNER:
            if self._firmware_again and at_s is not None and at_s < min(_EARLY_S, latest_s):
                # What the new kernel says has times of its own.
                self._kernel.latest_s = at_s
                return "the kernel began anew"
            return None
        if sign is None or (at_s is not None and at_s < latest_s - _BACK_S):
            return None
        return _FATAL.get(sign)

    def _firmware(self, text: str) -> str | None:
        """Take a line of the firmware's; it begins anew only if it also comes to its end."""
        self._firmware_lines += firmware.proves_firmware(self._kind, text)
        if self._firmware_lines < _FIRMWARE_LINES:
            return None
        self._firmware_again = True
        if firmware.handed_over(self._kind, text) or firmware.stopped(self._kind, text):
            return "the firmware began anew"
        return None

    def _event(self, event: Event) -> str | None:
        """Take what init says; a number that was there is shown out of the log."""
        if event.boot != self._lines.boot:
            began = event.name == "start" and event.seq == 1
            return "the system booted again" if began else None
        if event.seq < self._next:
            return None
        self._seen = event.seq + 1
        return "a service ended" if event.name == "service-exit" else None

    @property
    def _next(self) -> int:
        return self._lines.next_number if self._seen is None else self._seen
