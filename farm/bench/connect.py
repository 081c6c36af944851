# SPDX-License-Identifier: Apache-2.0
"""From a login on the bench host to the agent's socket. Only the standard library."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from farm.bench.errors import BusyError
from farm.bench.protocol import (
    GREETING_PREFIX,
    VERSION,
    LineSplitter,
    Message,
    decode,
    encode,
    error_from_message,
)
from farm.core.deadline import Deadline
from farm.core.errors import BenchError

_ANSWER_S = 30.0
_COPY_BYTES = 64 << 10


def connect(path: Path) -> int:
    """Join standard input and output to the socket, until one of them ends.

    Raises:
        BenchError: no agent listens.
    """
    # The greeting begins a line, whatever the login shell printed before.
    os.write(sys.stdout.fileno(), b"\n")
    with _call(path) as agent, selectors.DefaultSelector() as ready:
        stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
        ready.register(stdin, selectors.EVENT_READ)
        ready.register(agent, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fd == stdin:
                    data = os.read(stdin, _COPY_BYTES)
                    if not data:
                        return 0
                    agent.sendall(data)
                else:
                    data = agent.recv(_COPY_BYTES)
                    if not data:
                        return 0
                    _write_all(stdout, data)


class Call:
    """A conversation with an agent at its socket; blocking, in a `with` block.

    Raises:
        BenchError: no agent listens.
    """

    def __init__(self, path: Path) -> None:
        self._socket = _call(path)
        self._splitter = LineSplitter()
        self._lines: list[bytes] = []
        self._number = 0

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, do: str, fields: Message | None = None, *, timeout_s: float) -> Message:
        """Return the agent's answer.

        Raises:
            BenchError: it does not answer in time, or hangs up.
            FarmError: what it answered.
        """
        self._number += 1
        deadline = Deadline.after(timeout_s)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(encode({"id": self._number, "do": do, **(fields or {})}))
            while True:
                message = self._next(deadline)
                if message.get("id") == self._number:
                    break
        except OSError as error:
            raise BenchError(f"agent: {do}: no answer: {error}") from error
        if error_told := message.get("error"):
            raise error_from_message(error_told, f"agent: {do}")
        answer: Message = message["ok"]
        return answer

    def _next(self, deadline: Deadline) -> Message:
        while True:
            while self._lines:
                line = self._lines.pop(0)
                if line and not line.startswith(GREETING_PREFIX):
                    return decode(line)
            # Never 0, which would mean not to wait at all and to fail otherwise.
            self._socket.settimeout(max(deadline.left_s, 0.001))
            data = self._socket.recv(_COPY_BYTES)
            if not data:
                raise ConnectionError("it hung up")
            self._lines += self._splitter.feed(data)


def switch_card(path: Path, target: str, to: str, secret: str) -> None:
    """Ask the agent to give a card to "host" or "board", by the secret of the target's lease.

    Raises:
        BenchError: no agent listens, or it refuses.
    """
    with Call(path) as agent:
        wanted: Message = {"target": target, "to": to, "secret": secret}
        agent.ask("mux", wanted, timeout_s=_ANSWER_S)


def ping(path: Path, *, timeout_s: float) -> Message:
    """Return the agent's answer to a greeting: `name`, `pid`.

    Raises:
        BenchError: nobody answers, or it speaks another version.
    """
    with Call(path) as agent:
        return agent.ask("hello", {"version": VERSION}, timeout_s=timeout_s)


@contextlib.contextmanager
def all_leased(
    path: Path, *, owner: str, reason: str, timeout_s: float, grace_s: float
) -> Iterator[None]:
    """Hold all targets of an agent that nobody uses, so that nobody begins to.

    Args:
        path: the agent's socket.
        owner, reason: told to whoever finds them taken.
        timeout_s: seconds for each answer.
        grace_s: seconds for a lease to end whose client has just been killed.

    Raises:
        BusyError: somebody has one: whom, since when, what for.
        BenchError: the agent does not answer.
    """
    with Call(path) as agent:
        for target in agent.ask("status", timeout_s=timeout_s)["targets"]:
            wanted: Message = {"targets": [target["name"]], "owner": owner, "reason": reason}
            try:
                agent.ask("lease", wanted, timeout_s=timeout_s)
            except BusyError as busy:
                try:
                    agent.ask("lease", {**wanted, "wait": True}, timeout_s=grace_s)
                except BenchError:
                    raise busy from None
        yield


def _call(path: Path) -> socket.socket:
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        agent.connect(str(path))
    except OSError as error:
        agent.close()
        raise BenchError(
            f"{path}: no agent answers: {error.strerror or error}",
            hint="`farm bench up` starts a virtual bench's; `farm bench status` tells of all",
        ) from error
    return agent


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
