# SPDX-License-Identifier: Apache-2.0
"""What a client and a bench host's agent say to each other: lines of JSON. Pure.

The agent's first line, `farm-agent/VERSION`, stands at the beginning of a line; whatever a
login shell printed before it is thrown away. Then requests and answers, one JSON object a line,
at most 64 KiB each; `docs/bench.md` lists them:

    → {"id": 7, "do": "lease", "targets": ["rpi4-1"], "owner": "…", "reason": "…"}
    ← {"id": 7, "ok": {…}}   or   {"id": 7, "error": {"kind": "busy", "message": "…", …}}
    ← {"event": "console", "target": "rpi4-1", "data": "base64", "clock": 1.5, "wall": 1.7e9}
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from farm.bench.errors import BusyError, LeaseLostError, RefusedError
from farm.core.errors import BenchError, UserError

VERSION = 1
GREETING = f"farm-agent/{VERSION}"
GREETING_PREFIX = b"farm-agent/"
LINE_LIMIT = 64 << 10
CONSOLE_BYTES = 16 << 10
NOTE_LIMIT = 16 << 10
HEARTBEAT_S = 2.0
LEASE_DEAD_S = 10.0

Message: TypeAlias = dict[str, Any]


class ProtocolError(BenchError):
    """The other end does not speak this protocol."""


@dataclass(frozen=True)
class LeaseInfo:
    """Who has a target.

    Args:
        owner: who took it.
        reason: what for.
        since: when, in seconds of the epoch.
    """

    owner: str
    reason: str
    since: float


@dataclass(frozen=True)
class TargetState:
    """What an agent knows of one of its targets.

    Args:
        name, board: as in the bench's file.
        power: "on", "off", "fault: …"; None where the agent does not know.
        console: "open", or why it is not.
        lease: who has it; None where it is free.
        queue: the owners who wait for it, first to last.
        noted: whether a note is kept for it.
    """

    name: str
    board: str
    power: str | None
    console: str
    lease: LeaseInfo | None
    queue: tuple[str, ...]
    noted: bool

    def to_message(self) -> Message:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: Message) -> TargetState:
        """Back from JSON.

        Raises:
            ProtocolError: something is absent or of another type.
        """
        lease = message.get("lease")
        try:
            return cls(
                name=str(message["name"]),
                board=str(message["board"]),
                power=None if message["power"] is None else printable(message["power"]),
                console=printable(message["console"]),
                lease=None if lease is None else lease_from(lease),
                queue=tuple(printable(owner) for owner in message["queue"]),
                noted=bool(message["noted"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"agent: a target's state is malformed: {error}") from error


def lease_from(message: Message) -> LeaseInfo:
    """Return the lease that a message tells of."""
    return LeaseInfo(
        printable(message["owner"]), printable(message["reason"]), float(message["since"])
    )


def printable(words: object) -> str:
    """Return words of somebody else's that do nothing to a terminal when they are printed."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in str(words)
    )


def encode(message: Message) -> bytes:
    """Return a message as its line.

    Raises:
        ProtocolError: it is longer than a line may be.
    """
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    if len(line) > LINE_LIMIT:
        raise ProtocolError(f"a message of {len(line)} bytes: at most {LINE_LIMIT} can be sent")
    return line


def decode(line: bytes) -> Message:
    """Return the message of a line.

    Raises:
        ProtocolError: it is no JSON object, or too long.
    """
    if len(line) > LINE_LIMIT:
        raise ProtocolError(f"a line of more than {LINE_LIMIT} bytes")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {line[:60]!r}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"not a JSON object: {line[:60]!r}")
    return message


class LineSplitter:
    """Cuts a stream into lines of bounded length."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their newlines.

        Raises:
            ProtocolError: a line is longer than the limit.
        """
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        if any(len(line) > LINE_LIMIT for line in (*lines, self._rest)):
            raise ProtocolError(f"a line of more than {LINE_LIMIT} bytes")
        return [bytes(line) for line in lines]


def to_text(data: bytes) -> str:
    """Return bytes as JSON carries them."""
    return base64.b64encode(data).decode("ascii")


def from_text(text: object) -> bytes:
    """Return the bytes that JSON carried.

    Raises:
        ProtocolError: it is no base64.
    """
    if not isinstance(text, str):
        raise ProtocolError("data: not a base64 string")
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ProtocolError("data: not a base64 string") from error


def error_to_message(error: BenchError | UserError) -> Message:
    """Return an error as an answer carries it."""
    message: Message = {"kind": "bench", "message": str(error), "hint": error.hint}
    match error:
        case BusyError():
            lease = {"holder": error.holder, "since": error.since, "reason": error.reason}
            message |= {"kind": "busy", **lease}
        case LeaseLostError():
            message["kind"] = "lost"
        case RefusedError():
            message["kind"] = "refused"
        case UserError():
            message["kind"] = "user"
    return message


def error_from_message(message: Message, where: str) -> BenchError | UserError:
    """Return the error that an answer carries.

    Args:
        where: host and step, put before the message.
    """
    text = f"{where}: {printable(message.get('message', 'an error without words'))}"
    hint = message.get("hint")
    hint = None if hint is None else printable(hint)
    match message.get("kind"):
        case "busy":
            return BusyError(
                text,
                hint=hint,
                holder=printable(message.get("holder")),
                since=float(message.get("since") or 0),
                reason=printable(message.get("reason")),
            )
        case "lost":
            return LeaseLostError(text, hint=hint)
        case "refused":
            return RefusedError(text, hint=hint)
        case "user":
            return UserError(text, hint=hint)
        case _:
            return BenchError(text, hint=hint)
