# SPDX-License-Identifier: Apache-2.0
"""A target's console on its host: one reader, a log, any number of watchers. Pure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import anyio

from farm.bench.channel import WATCHER_LIMIT_BYTES, ClientChannel
from farm.bench.console_log import ConsoleLog
from farm.bench.console_port import ConsolePort
from farm.bench.protocol import CONSOLE_BYTES, Message, to_text
from farm.bench.settings import TargetSettings
from farm.core.errors import BenchError

_log = logging.getLogger(__name__)
_TICK_S = 0.4


class AgentConsole:
    """Reads, logs, and hands on what one target says.

    Args:
        name: the target's name.
        settings: where its port is.
        log: the log's file.
        clock: the target's own clock, in seconds.
        power: its power's state, None where it is not known.
    """

    def __init__(
        self,
        name: str,
        settings: TargetSettings,
        log: Path,
        *,
        clock: Callable[[], float],
        power: Callable[[], str | None],
    ) -> None:
        self.name = name
        self._clock = clock
        self._power = power
        self._log = ConsoleLog(log)
        self._log_failed = False
        self._over = False
        self._watchers: list[ClientChannel] = []
        self.port = ConsolePort(
            name, settings.console, settings.speed, heard=self._heard, changed=self._changed
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.port.run)
                tasks.start_soon(self._tick)
        finally:
            self._keep(self._log.close)
            # Boards are switched off after their consoles have ended: nobody is told any more.
            self._over = True

    def watch(self, channel: ClientChannel) -> None:
        """Tell a client what the console says from now on."""
        if channel not in self._watchers:
            self._watchers.append(channel)
            self._tell(channel, self._event(b""))
            self._tell(channel, self._power_event(self._power()))

    def unwatch(self, channel: ClientChannel) -> None:
        """Tell it no more."""
        if channel in self._watchers:
            self._watchers.remove(channel)

    def mark(self, text: str) -> None:
        """Put a line of the agent's own into the log."""
        self._keep(lambda: self._log.mark(text))

    def power_changed(self, words: str) -> None:
        """Log and tell that the power's state is another one now."""
        power = self._power()
        self.mark(f"power: {power}" + ("" if words in str(power) else f" ({words})"))
        self._tell_all(self._power_event(power))

    def _heard(self, data: bytes) -> None:
        self._keep(lambda: self._log.feed(data))
        for start in range(0, len(data), CONSOLE_BYTES):
            self._tell_all(self._event(data[start : start + CONSOLE_BYTES]))

    def _changed(self, state: str) -> None:
        self.mark(f"console: {state}")

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(_TICK_S)
            self._keep(self._log.settle)
            self._tell_all(self._event(b""))

    def _event(self, data: bytes) -> Message:
        return {
            "event": "console",
            "target": self.name,
            "data": to_text(data),
            "clock": self._clock(),
            "wall": time.time(),
        }

    def _power_event(self, power: str | None) -> Message:
        return {"event": "power", "target": self.name, "state": power}

    def _tell_all(self, event: Message) -> None:
        for channel in tuple(self._watchers):
            self._tell(channel, event)

    def _tell(self, channel: ClientChannel, event: Message) -> None:
        if channel.waiting_bytes > WATCHER_LIMIT_BYTES:
            self.unwatch(channel)
            why = f"too slow: {channel.waiting_bytes} bytes were waiting"
            event = {"event": "dropped", "target": self.name, "why": why}
        channel.say(event)

    def _keep(self, write: Callable[[], None]) -> None:
        if self._over:
            return
        # A full disk must not silence the console itself.
        try:
            write()
            self._log_failed = False
        except BenchError as error:
            if not self._log_failed:
                _log.error("%s", error)
            self._log_failed = True
