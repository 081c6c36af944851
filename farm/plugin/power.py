# SPDX-License-Identifier: Apache-2.0
"""A board's supply as a test uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.plugin.session import BoardSession
    from farm.smoke.verdict import Verdict


class BoardPower:
    """Switches the board; a boot that a test asks for is judged like the first one."""

    def __init__(self, session: BoardSession) -> None:
        self._session = session

    def state(self) -> str:
        """Return "on", "off", or "fault: " and what is wrong."""
        return self._session.power_state()

    def off(self) -> None:
        """Switch off; nothing runs any more when it returns."""
        self._session.power_off()

    def on(self) -> Verdict:
        """Switch on, wait for the end of the boot, and return its verdict."""
        return self._session.power_on()

    def cycle(self) -> Verdict:
        """Switch off and on, and return the verdict of the boot."""
        self.off()
        return self.on()
