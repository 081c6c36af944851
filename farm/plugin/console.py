# SPDX-License-Identifier: Apache-2.0
"""A board's console as a test uses it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from farm.core.errors import CheckError
from farm.smoke.lines import strip_escapes

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from farm.runs.boot import Boot

_SHOWN = 15
_KEPT = 1 << 20
# An escape sequence or a line end of which the rest has not come yet.
_UNFINISHED = re.compile("(?:\x1b[^\x1b@-~]{0,64}|\x1b\\[[0-?]{0,64}[ -/]{0,8}|\r+)\\Z")


class BoardConsole:
    """The serial console from the power-on on; what was read once is not read again.

    Escape sequences are left out and line ends are "\\n"; the log keeps them as they came.

    Args:
        portal: leads to the event loop.
        boot: returns the boot that is under way; a new one begins with an empty console.
    """

    def __init__(self, portal: BlockingPortal, boot: Callable[[], Boot]) -> None:
        self._portal = portal
        self._find_boot = boot
        self._boot: Boot | None = None
        self._begin()

    def _begin(self) -> None:
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = ""
        self._unread = ""

    def read(self) -> str:
        """Return what was written since the last `read` or `expect`; does not wait."""
        text = self._portal.call(self._gather, self._find_boot())
        self._unread = ""
        return text

    def expect(self, pattern: str, *, timeout_s: float = 30.0) -> re.Match[str]:
        """Wait until a regular expression is found in what was not read yet.

        Args:
            pattern: searched with `^` and `$` at line ends.
            timeout_s: on the target's clock.

        Raises:
            CheckError: it did not come in time; the message shows what did.
            BenchError: the console is gone.
        """
        compiled = re.compile(pattern, re.MULTILINE)
        return self._portal.call(self._expect, self._find_boot(), compiled, timeout_s)

    def send(self, text: str) -> None:
        """Type text; a line ends with "\\n"."""
        self._portal.call(self._find_boot().write, text.encode())

    async def _gather(self, boot: Boot) -> str:
        """Add what came to what was not read yet, and return that."""
        if boot is not self._boot:
            self._boot = boot
            self._begin()
        fresh = boot.written(self._position)
        self._position = boot.position
        text = self._tail + self._decoder.decode(fresh)
        end = _UNFINISHED.search(text)
        cut = end.start() if end is not None else len(text)
        self._tail = text[cut:]
        plain = re.sub("\r+\n?", "\n", strip_escapes(text[:cut]))
        self._unread = (self._unread + plain)[-_KEPT:]
        return self._unread

    async def _expect(
        self, boot: Boot, pattern: re.Pattern[str], timeout_s: float
    ) -> re.Match[str]:
        until_s = boot.clock_s + timeout_s
        while True:
            text = await self._gather(boot)
            if (found := pattern.search(text)) is not None:
                self._unread = text[found.end() :]
                return found
            if boot.vigil.problems:
                raise CheckError(f"{boot.drivers.name}: {boot.vigil.problems[0]}")
            if boot.clock_s >= until_s:
                lines = "".join(f"\n    | {line}" for line in text.splitlines()[-_SHOWN:])
                raise CheckError(
                    f"{boot.drivers.name}: console: {pattern.pattern!r} did not come within "
                    f"{timeout_s:g} s; what came:{lines or ' nothing'}"
                )
            with anyio.move_on_after(1.0):
                await boot.changed()
