# SPDX-License-Identifier: Apache-2.0
"""A client's end of the agent's protocol, over one channel of an SSH connection."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import anyio.to_thread

from farm.bench.errors import LeaseLostError
from farm.bench.protocol import (
    GREETING,
    GREETING_PREFIX,
    HEARTBEAT_S,
    LEASE_DEAD_S,
    VERSION,
    LineSplitter,
    Message,
    decode,
    encode,
    error_from_message,
)
from farm.core.errors import BenchError, FarmError

_ANSWER_S = 15.0


class Pipe(Protocol):
    """Blocking input and output of `farm-agent connect`, as farm.core.ssh.Channel has them."""

    def read(self, size: int = 65536) -> bytes:
        """At least one byte; b"" at the end."""

    def write(self, data: bytes) -> None:
        """Send all."""

    def close(self) -> None:
        """End it; a blocked read returns."""

    @property
    def stderr(self) -> bytes:
        """What the program complained of."""


@dataclass
class _Question:
    answered: anyio.Event = field(default_factory=anyio.Event)
    answer: Message | None = None


class AgentLink:
    """Requests and events of one channel.

    Args:
        host: the host's name, for messages.
        pipe: the channel; closed by the link.
        heard: takes the agent's events, in the event loop.
        lost: called once, with the reason, when the link ends by itself.
    """

    def __init__(
        self,
        host: str,
        pipe: Pipe,
        *,
        heard: Callable[[Message], None] = lambda event: None,
        lost: Callable[[BenchError], None] = lambda error: None,
    ) -> None:
        self._host = host
        self._pipe = pipe
        self._heard = heard
        self._lost = lost
        self._questions: dict[int, _Question] = {}
        self._number = 0
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._asked = anyio.Event()
        self._greeted = anyio.Event()
        self._closing = False
        # Ended by `close` only: a run that is cancelled still gives its lease back over this link.
        self._scope = anyio.CancelScope(shield=True)
        self._last_heard_s = time.monotonic()
        self.error: BenchError | None = None

    async def run(self) -> None:
        """Read until the channel ends or `close` is called; beat its heart meanwhile."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._beat)
                tasks.start_soon(self._write, tasks.cancel_scope)
                try:
                    await self._read()
                    self._fail(BenchError(f"{self._host}: the agent hung up{self._complaint()}"))
                except FarmError as error:
                    self._fail_by(error)
                tasks.cancel_scope.cancel()

    async def open(self) -> None:
        """Greet the agent.

        Raises:
            BenchError: none answers, or it speaks another version.
        """
        with anyio.move_on_after(_ANSWER_S) as limit:
            await self._greeted.wait()
        if limit.cancelled_caught:
            raise BenchError(f"{self._host}: the agent does not greet{self._complaint()}")
        if self.error is not None:
            raise self.error
        await self.ask("hello", {"version": VERSION})

    async def ask(
        self, do: str, fields: Message | None = None, *, answer_s: float = _ANSWER_S
    ) -> Message:
        """Return the agent's answer to a request.

        Raises:
            BenchError: no answer in `answer_s` seconds, or the link is gone.
            FarmError: what the agent answered.
        """
        self._number += 1
        number = self._number
        question = self._questions[number] = _Question()
        step = f"{self._host}: {do}"
        try:
            if self.error is not None:
                raise self.error
            line = encode({"id": number, "do": do, **(fields or {})})
            self._unsent.append((number, line))
            self._asked.set()
            with anyio.move_on_after(answer_s):
                await question.answered.wait()
        finally:
            del self._questions[number]
        if question.answer is None:
            raise self.error or BenchError(f"{step}: no answer from the agent in {answer_s:g} s")
        if (told := question.answer.get("error")) is not None:
            raise error_from_message(told, step)
        answer: Message = question.answer["ok"]
        return answer

    async def close(self) -> None:
        """Hang up; the agent ends what belongs to this channel."""
        self._closing = True
        self._fail(BenchError(f"{self._host}: the link to the agent is closed"))
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._pipe.close)
        self._scope.cancel()

    async def _write(self, scope: anyio.CancelScope) -> None:
        """Send what is asked, whole and in order, however long those who ask it still wait."""
        limiter = anyio.CapacityLimiter(1)
        try:
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                while self._unsent:
                    number, line = self._unsent.popleft()
                    # What nobody waits for any more is not begun.
                    if number in self._questions:
                        await anyio.to_thread.run_sync(
                            self._pipe.write, line, limiter=limiter, abandon_on_cancel=True
                        )
        except FarmError as error:
            self._fail_by(error)
            scope.cancel()

    async def _read(self) -> None:
        splitter = LineSplitter()
        limiter = anyio.CapacityLimiter(1)
        while data := await anyio.to_thread.run_sync(
            self._pipe.read, 65536, limiter=limiter, abandon_on_cancel=True
        ):
            self._last_heard_s = time.monotonic()
            for line in splitter.feed(data):
                self._take(line)

    def _take(self, line: bytes) -> None:
        if not self._greeted.is_set():
            # What a login shell prints comes before the greeting.
            if line.startswith(GREETING_PREFIX):
                if line.decode(errors="replace") != GREETING:
                    raise BenchError(
                        f"{self._host}: the agent greets with {line.decode(errors='replace')!r}, "
                        f"and this farm speaks {GREETING!r}",
                        hint="use the same version of farm on both",
                    )
                self._greeted.set()
            return
        message = decode(line)
        if "event" in message:
            self._heard(message)
        elif question := self._questions.get(message.get("id", 0)):
            question.answer = message
            question.answered.set()

    async def _beat(self) -> None:
        await self._greeted.wait()
        while True:
            await anyio.sleep(HEARTBEAT_S)
            with contextlib.suppress(FarmError):
                await self.ask("heartbeat", answer_s=LEASE_DEAD_S)
            silence = time.monotonic() - self._last_heard_s
            if silence > LEASE_DEAD_S:
                self._fail(BenchError(f"{self._host}: nothing from the agent for {silence:.0f} s"))
                self._scope.cancel()

    def _fail_by(self, error: FarmError) -> None:
        failure = BenchError(error.message, hint=error.hint)
        failure.__cause__ = error
        self._fail(failure)

    def _fail(self, error: BenchError) -> None:
        if self.error is not None:
            return
        self.error = error
        self._greeted.set()
        for question in self._questions.values():
            question.answered.set()
        if not self._closing:
            self._lost(error)

    def _complaint(self) -> str:
        words = self._pipe.stderr.decode(errors="replace").strip().splitlines()
        return f": {'; '.join(words[-3:])}" if words else ""


def lease_lost(target: str, why: str) -> LeaseLostError:
    """The error of everything that is done to a target whose lease is gone."""
    return LeaseLostError(
        f"{target}: the lease is lost: {why}",
        hint="`farm bench status` shows who holds the target now",
    )
