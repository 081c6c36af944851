# SPDX-License-Identifier: Apache-2.0
"""The programs that a virtual bench host consists of, started and kept by its agent."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from farm.bench.process_table import descendants, end_process, process
from farm.core.errors import BenchError
from farm.core.run import STDOUT, spawn

_log = logging.getLogger(__name__)
_AGAIN_S = (0.2, 1.0, 5.0)
_PATIENCE_S = 2.0
_GREETING_S = 10.0
_LAST_WORDS = 300


class Child:
    """A program that is started again when it ends by itself.

    Args:
        name: for messages.
        argv: its command line, in the foreground.
        log: a file for what it prints.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.failures = 0
        """How often it has ended by itself."""
        self._argv = tuple(argv)

    async def run(self) -> None:
        """Keep it running, until cancelled; then it and what it started are gone."""
        while True:
            with self.log.open("ab") as log:
                child = spawn(self._argv, stdout=log, stderr=STDOUT, die_with_parent=True)
            handle = os.pidfd_open(child.pid)
            try:
                await anyio.wait_readable(handle)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_end_all, child.pid)
                os.close(handle)
                child.wait()
            _log.warning("%s ended (%s): %s", self.name, child.returncode, last_words(self.log))
            pause_s = _AGAIN_S[min(self.failures, len(_AGAIN_S) - 1)]
            self.failures += 1
            await anyio.sleep(pause_s)


async def wait_for_greeting(child: Child, port: int, greeting: bytes) -> None:
    """Return when a child that serves a loopback port says its greeting there.

    Raises:
        BenchError: it ended, or says nothing in 10 s.
    """
    with anyio.move_on_after(_GREETING_S):
        while not child.failures:
            try:
                # Somebody else may be there, and silent.
                with anyio.move_on_after(1):
                    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                        if (await stream.receive(len(greeting))).startswith(greeting):
                            return
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                # It gives no sign when it begins to listen: ask again.
                await anyio.sleep(0.02)
    raise BenchError(f"{child.name}: does not answer at port {port}: {last_words(child.log)}")


def last_words(log: Path) -> str:
    """Return the end of a log, for a message."""
    try:
        text = log.read_text(errors="replace").strip()
    except OSError:
        return "it said nothing"
    return text[-_LAST_WORDS:].replace("\n", "; ") or "it said nothing"


def _end_all(pid: int) -> None:
    below = descendants({pid})
    if top := process(pid):
        end_process(top, patience_s=_PATIENCE_S)
    for left in below:
        end_process(left, patience_s=_PATIENCE_S)
