# SPDX-License-Identifier: Apache-2.0
"""One serial port, read by one thread that opens it again whenever it is gone. Pure but pyserial.

Source of the URL: pyserial's documentation of `rfc2217://` and its `ign_set_control`, which a
pseudo terminal needs, since it has no RTS and DTR.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import serial

from farm.bench.protocol import CONSOLE_BYTES
from farm.core.errors import BenchError

_log = logging.getLogger(__name__)
_READ_S = 0.25
_AGAIN_S = (0.2, 0.5, 1.0, 2.0)
_DRAINED_S = 0.05
_DRAIN_MOST_S = 2.0
# pyserial's RFC 2217 reader puts each byte into a queue without an end; a board that talks
# faster than it is listened to must wait for room, as on a wire with flow control.
_QUEUE_BYTES = 256 << 10

OPEN = "open"


class ConsolePort:
    """Reads a port for ever, in a thread of its own.

    Args:
        name: the target's name.
        url: pyserial's URL or a device.
        speed: bits a second.
        heard: takes bytes, in the event loop; must not wait.
        changed: told "open", or why the port is not open.
    """

    def __init__(
        self,
        name: str,
        url: str,
        speed: int,
        *,
        heard: Callable[[bytes], None],
        changed: Callable[[str], None],
    ) -> None:
        self._name = name
        self._url = url
        self._speed = speed
        self._heard = heard
        self._changed = changed
        self._stop = threading.Event()
        self._port: Any = None
        self._news = anyio.Event()
        self.state = "not opened yet"

    async def run(self) -> None:
        """Keep the port open, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stop_when_cancelled)
            failures = 0
            limiter = anyio.CapacityLimiter(1)
            while not self._stop.is_set():
                was_open = await anyio.to_thread.run_sync(self._session, limiter=limiter)
                failures = 0 if was_open else min(failures + 1, len(_AGAIN_S) - 1)
                await anyio.sleep(_AGAIN_S[failures])

    async def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            BenchError: the port is not open.
        """
        port = self._port
        if port is None:
            raise BenchError(f"{self._name}: console: {self.state}")
        try:
            await anyio.to_thread.run_sync(port.write, data, abandon_on_cancel=True)
        except (serial.SerialException, OSError) as error:
            raise BenchError(f"{self._name}: console: cannot write: {error}") from error

    async def ready(self, timeout_s: float) -> None:
        """Wait until the port is open and what was left in it has come out.

        Raises:
            BenchError: it does not open.
        """
        with anyio.move_on_after(timeout_s) as limit:
            while self.state != OPEN:
                await self._wait_for_news()
        if limit.cancelled_caught:
            raise BenchError(
                f"{self._name}: console: not open after {timeout_s:g} s: {self.state}",
                hint="is the serial port's server running, and the cable plugged in?",
            )
        with anyio.move_on_after(_DRAIN_MOST_S):
            silent = False
            while not silent:
                with anyio.move_on_after(_DRAINED_S) as silence:
                    await self._wait_for_news()
                silent = silence.cancelled_caught

    async def _wait_for_news(self) -> None:
        self._news = anyio.Event()
        await self._news.wait()

    async def _stop_when_cancelled(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._stop.set()

    def _session(self) -> bool:
        """From open to loss, in the reader's thread; returns whether it was open."""
        port: Any = None
        try:
            port = serial.serial_for_url(
                self._url, baudrate=self._speed, timeout=_READ_S, do_not_open=True
            )
            port.open()
            _bound(port)
            self._port = port
            anyio.from_thread.run_sync(self._set_state, OPEN)
            while not self._stop.is_set():
                if data := port.read(1):
                    data += port.read(min(port.in_waiting, CONSOLE_BYTES - 1))
                    anyio.from_thread.run_sync(self._give, data)
        except Exception as error:
            # pyserial raises many kinds when the far end goes: each means "not open now".
            anyio.from_thread.run_sync(self._set_state, str(error) or type(error).__name__)
        finally:
            was_open, self._port = self._port is not None, None
            if port is not None:
                _close(port)
        return was_open

    def _give(self, data: bytes) -> None:
        self._news.set()
        self._heard(data)

    def _set_state(self, state: str) -> None:
        self._news.set()
        if state != self.state:
            self.state = state
            _log.info("%s: console: %s", self._name, state)
            self._changed(state)


def _bound(port: Any) -> None:  # noqa: ANN401 (pyserial's handlers share no type)
    queue = getattr(port, "_read_buffer", None)
    if queue is not None and hasattr(queue, "maxsize"):
        queue.maxsize = _QUEUE_BYTES


def _close(port: Any) -> None:  # noqa: ANN401
    queue = getattr(port, "_read_buffer", None)
    if queue is not None and hasattr(queue, "maxsize"):
        # Its reader may wait for room: let it see that the port is closed.
        queue.maxsize = sys.maxsize
        with contextlib.suppress(Exception):
            queue.get_nowait()
    with contextlib.suppress(Exception):
        port.close()
