# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on a board after its verdict, while tests use it."""

from __future__ import annotations

from farm.firmware import console as firmware
from farm.smoke.kernel import KernelReader, Sign, stamped
from farm.smoke.lines import LineReader
from farm.smoke.timeline import Event, parse_line

_FATAL = {
    Sign.PANIC: "the kernel panicked",
    Sign.OOPS: "the kernel stumbled",
    Sign.RESTART: "the board restarted, and nobody asked for it",
    Sign.POWER_OFF: "the board turned itself off",
    Sign.BANNER: "the kernel began anew",
}
_FIRMWARE_LINES = 3


class Vigil:
    """Reads on where a `BootWatch` ended.

    Args:
        firmware_kind: the board's `firmware.kind`.
        kernel: the reader that has seen the boot's lines.
    """

    def __init__(self, firmware_kind: str, kernel: KernelReader) -> None:
        self.problems: list[str] = []
        self._kind = firmware_kind
        self._kernel = kernel
        self._reader = LineReader()
        self._firmware_lines = 0

    def feed(self, data: bytes, clock_s: float, wall: float) -> None:
        """Take bytes of the console; what is wrong is added to `problems`."""
        for line in self._reader.feed(data, clock_s, wall):
            if problem := self._problem(line.text):
                self.problems.append(f"{problem}: {line.text}")

    def _problem(self, text: str) -> str | None:
        if not stamped(text) and firmware.is_firmware_line(self._kind, text):
            self._firmware_lines += 1
            if self._firmware_lines == _FIRMWARE_LINES:
                return "the firmware began anew"
            return None
        self._firmware_lines = 0
        said = parse_line(text)
        if isinstance(said, Event):
            return "a service ended" if said.name == "service-exit" else None
        sign = self._kernel.sign(text)
        return None if sign is None else _FATAL.get(sign)
