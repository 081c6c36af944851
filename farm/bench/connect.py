# SPDX-License-Identifier: Apache-2.0
"""From a login on the bench host to the agent's socket. Only the standard library."""

from __future__ import annotations

import os
import selectors
import socket
import sys
from pathlib import Path

from farm.bench.protocol import (
    GREETING_PREFIX,
    VERSION,
    LineSplitter,
    Message,
    decode,
    encode,
    error_from_message,
)
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


def switch_card(path: Path, target: str, to: str) -> None:
    """Ask the agent to give a card to "host" or "board".

    Raises:
        BenchError: no agent listens, or it refuses.
    """
    request = {"id": 1, "do": "mux", "target": target, "to": to}
    with _call(path) as agent:
        agent.settimeout(_ANSWER_S)
        answer = _ask(agent, request, f"{target}: card to the {to}")
    if error := answer.get("error"):
        raise error_from_message(error, "agent")


def ping(path: Path, *, timeout_s: float) -> Message:
    """Return the agent's answer to a greeting: `name`, `pid`.

    Raises:
        BenchError: nobody answers, or it speaks another version.
    """
    with _call(path) as agent:
        agent.settimeout(timeout_s)
        answer = _ask(agent, {"id": 1, "do": "hello", "version": VERSION}, "greeting")
    if error := answer.get("error"):
        raise error_from_message(error, "agent")
    told: Message = answer["ok"]
    return told


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


def _ask(agent: socket.socket, request: Message, step: str) -> Message:
    splitter = LineSplitter()
    try:
        agent.sendall(encode(request))
        while data := agent.recv(_COPY_BYTES):
            for line in splitter.feed(data):
                if line and not line.startswith(GREETING_PREFIX):
                    answer = decode(line)
                    if answer.get("id") == request["id"]:
                        return answer
    except OSError as error:
        raise BenchError(f"agent: {step}: no answer: {error}") from error
    raise BenchError(f"agent: {step}: it hung up")


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
