# SPDX-License-Identifier: Apache-2.0
"""The agent of a bench host: consoles, leases, notes, at a unix socket. Pure but anyio, pyserial.

One process a host. Who may use the socket may use the bench: it is private to the account that
the agent runs as, and SSH is the way to that account.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import anyio
import anyio.abc

from farm.bench.agent_console import AgentConsole
from farm.bench.channel import ClientChannel
from farm.bench.errors import LeaseLostError
from farm.bench.leases import Lease, LeaseTable, Ticket
from farm.bench.protocol import (
    NOTE_LIMIT,
    VERSION,
    Message,
    ProtocolError,
    TargetState,
    decode,
    error_to_message,
    from_text,
    printable,
)
from farm.bench.settings import AgentSettings
from farm.core.errors import BenchError, UserError
from farm.core.files import write_bytes

_log = logging.getLogger(__name__)
_REQUESTS_AT_ONCE = 16
_CLIENTS = 64
_WORDS_LIMIT = 500
_CHECK_S = 1.0


class Hardware(Protocol):
    """What the agent itself runs of its targets; on a host of real boards, nothing."""

    def clock_s(self, target: str) -> float:
        """The target's own clock."""

    def power(self, target: str) -> str | None:
        """Its power's state, None where it is not known."""

    def tell_changes(self, changed: Callable[[str, str], None]) -> None:
        """Call `changed` with target and words whenever its power's state has changed."""

    def complaint(self) -> str:
        """What its programs said last, for a message about a failed start; "" where nothing."""

    def guard(self, allowed: Callable[[str, str], bool]) -> None:
        """Switch only where `allowed` says of target and secret that they are of one lease."""

    async def abandoned(self, target: str) -> None:
        """Switch off what the agent itself can: its lease ended without being given back."""

    async def switch_card(self, target: str, to: str) -> None:
        """Give its card to the "host" or the "board"."""


class Agent:
    """Serves clients until cancelled.

    Args:
        settings: its folder, socket and targets.
        hardware: what it runs of its targets itself.
        clock: monotonic seconds, for the leases' heartbeats.
    """

    def __init__(
        self,
        settings: AgentSettings,
        hardware: Hardware,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._hardware = hardware
        self._leases = LeaseTable(clock=clock)
        self._notes = settings.folder / "notes"
        self._clients = 0
        self._consoles = {
            name: self._console(name, folder=settings.folder / "consoles")
            for name in settings.targets
        }
        hardware.tell_changes(lambda name, words: self._consoles[name].power_changed(words))
        hardware.guard(self._leases.allows)
        self._requests: dict[str, Callable[[ClientChannel, Message], Awaitable[Message]]] = {
            "hello": self._hello,
            "status": self._status,
            "lease": self._lease,
            "release": self._release,
            "heartbeat": self._heartbeat,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "ready": self._ready,
            "write": self._write,
            "note": self._note,
            "set-note": self._set_note,
            "mux": self._mux,
        }

    async def serve(self, listening: Callable[[], None]) -> None:
        """Listen at the socket; `listening` is called when clients can come.

        Raises:
            BenchError: the socket cannot be made.
        """
        path = self._settings.socket
        try:
            path.unlink(missing_ok=True)
            listener = await anyio.create_unix_listener(path, mode=0o600)
        except OSError as error:
            raise BenchError(f"{path}: cannot listen: {error.strerror or error}") from error
        try:
            async with listener, anyio.create_task_group() as tasks:
                for console in self._consoles.values():
                    tasks.start_soon(console.run)
                tasks.start_soon(self._bury_the_dead, tasks)
                listening()
                await listener.serve(self._client)
        finally:
            path.unlink(missing_ok=True)

    async def all_open(self, timeout_s: float) -> None:
        """Return when every console is open.

        Raises:
            BenchError: one does not open.
        """
        async with anyio.create_task_group() as tasks:
            for console in self._consoles.values():
                tasks.start_soon(console.port.ready, timeout_s)

    def _console(self, name: str, *, folder: Path) -> AgentConsole:
        return AgentConsole(
            name,
            self._settings.targets[name],
            folder / f"{name}.log",
            clock=lambda: self._hardware.clock_s(name),
            power=lambda: self._hardware.power(name),
        )

    async def _client(self, stream: anyio.abc.SocketStream) -> None:
        channel = ClientChannel(stream)
        self._clients += 1
        try:
            async with anyio.create_task_group() as tasks:
                said = anyio.Event()
                tasks.start_soon(channel.send_loop, said)
                if self._clients > _CLIENTS:
                    channel.say(_failed(None, BenchError(f"more than {_CLIENTS} clients")))
                else:
                    await self._converse(channel, tasks)
                # At once: the next in the queue need not wait for this one's last words.
                self._forget(channel)
                for lease in self._leases.held_by(channel):
                    await self._end(lease, "ended with its channel")
                channel.end()
                with anyio.move_on_after(_CHECK_S):
                    await said.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._clients -= 1
            self._forget(channel)
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _converse(self, channel: ClientChannel, tasks: anyio.abc.TaskGroup) -> None:
        at_once = anyio.Semaphore(_REQUESTS_AT_ONCE)
        try:
            async for line in channel.lines():
                await at_once.acquire()
                tasks.start_soon(self._answer, channel, line, at_once)
        except ProtocolError as error:
            channel.say(_failed(None, error))

    async def _answer(self, channel: ClientChannel, line: bytes, at_once: anyio.Semaphore) -> None:
        number: object = None
        try:
            message = decode(line)
            number = message.get("id")
            handler = self._requests.get(str(message.get("do")))
            if handler is None:
                known = ", ".join(self._requests)
                raise UserError(f"unknown request {message.get('do')!r}", hint=f"known: {known}")
            channel.say({"id": number, "ok": await handler(channel, message)})
        except (BenchError, UserError) as error:
            channel.say(_failed(number, error))
        except Exception as error:
            # A mistake of the agent's own costs one answer, not the host.
            _log.exception("request failed: %.200r", line)
            channel.say(_failed(number, BenchError(f"the agent failed: {error!r}; see its log")))
        finally:
            at_once.release()

    def _forget(self, channel: ClientChannel) -> None:
        for console in self._consoles.values():
            console.unwatch(channel)
        self._leases.drop_tickets(channel)

    async def _end(self, lease: Lease, why: str) -> None:
        """End a lease that nobody gives back: the next one finds the target off."""
        if lease.over:
            return
        lease.over = True
        self._tell_lease(lease, why)
        try:
            await self._hardware.abandoned(lease.target)
        except Exception:
            _log.exception("%s: it cannot be switched off", lease.target)
        self._leases.release(lease.target, lease.holder)

    async def _bury_the_dead(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.sleep(_CHECK_S)
            for lease in self._leases.dead():
                channel = lease.holder
                assert isinstance(channel, ClientChannel)
                tasks.start_soon(self._end, lease, "ended: no heartbeat")
                channel.say(
                    {"event": "lost", "target": lease.target, "why": "no heartbeat came for 10 s"}
                )
                for console in self._consoles.values():
                    console.unwatch(channel)
                channel.end()

    def _tell_lease(self, lease: Lease, what: str) -> None:
        text = f"lease of {lease.info.owner} ({lease.info.reason}) {what}"
        _log.info("%s: %s", lease.target, text)
        self._consoles[lease.target].mark(text)

    def _target(self, message: Message) -> str:
        name = message.get("target")
        if not isinstance(name, str) or name not in self._consoles:
            known = ", ".join(self._consoles)
            raise UserError(f"no target {name!r} on this host", hint=f"known: {known}")
        return name

    def _leased_target(self, channel: ClientChannel, message: Message) -> str:
        name = self._target(message)
        lease = self._leases.lease_of(name)
        if lease is None or lease.holder is not channel or lease.over:
            raise LeaseLostError(f"{name}: not leased by this channel")
        return name

    async def _hello(self, channel: ClientChannel, message: Message) -> Message:
        if message.get("version") != VERSION:
            raise BenchError(
                f"the agent speaks version {VERSION}, the client {message.get('version')!r}",
                hint="use the same version of farm on both; `farm bench down` and `up` renew "
                "the agent of a virtual bench",
            )
        return {"version": VERSION, "name": self._settings.name, "pid": os.getpid()}

    async def _status(self, channel: ClientChannel, message: Message) -> Message:
        return {"targets": [self._state(name).to_message() for name in self._consoles]}

    def _state(self, name: str) -> TargetState:
        lease = self._leases.lease_of(name)
        return TargetState(
            name=name,
            board=self._settings.targets[name].board,
            power=self._hardware.power(name),
            console=self._consoles[name].port.state,
            lease=None if lease is None else lease.info,
            queue=self._leases.queue_of(name),
            noted=self._note_path(name).exists(),
        )

    async def _lease(self, channel: ClientChannel, message: Message) -> Message:
        names = message.get("targets")
        if not isinstance(names, list) or not names:
            raise UserError("lease: `targets` is no list of names")
        targets = [self._target({"target": name}) for name in names]
        # They are shown to others, on terminals and in logs.
        owner = printable(message.get("owner", ""))[:_WORDS_LIMIT] or "nobody"
        reason = printable(message.get("reason", ""))[:_WORDS_LIMIT] or "nothing said"
        if message.get("wait"):
            lease = await self._wait_for_lease(channel, message, targets, owner, reason)
        else:
            lease = self._leases.take(targets, channel, owner, reason)
        self._tell_lease(lease, "begins")
        return {"target": lease.target, "since": lease.info.since, "secret": lease.secret}

    async def _wait_for_lease(
        self,
        channel: ClientChannel,
        message: Message,
        targets: list[str],
        owner: str,
        reason: str,
    ) -> Lease:
        got: list[Lease] = []
        turn = anyio.Event()

        def granted(lease: Lease) -> None:
            got.append(lease)
            turn.set()

        def moved(place: int) -> None:
            channel.say({"event": "queue", "for": message.get("id"), "place": place})

        ticket = Ticket(tuple(targets), channel, owner, reason, granted, moved)
        try:
            self._leases.wait(ticket)
            await turn.wait()
        finally:
            self._leases.leave(ticket)
        return got[0]

    async def _release(self, channel: ClientChannel, message: Message) -> Message:
        name = self._leased_target(channel, message)
        lease = self._leases.lease_of(name)
        assert lease is not None
        self._leases.release(name, channel)
        self._tell_lease(lease, "ended")
        return {}

    async def _heartbeat(self, channel: ClientChannel, message: Message) -> Message:
        self._leases.beat(channel)
        return {}

    async def _watch(self, channel: ClientChannel, message: Message) -> Message:
        self._consoles[self._target(message)].watch(channel)
        return {}

    async def _unwatch(self, channel: ClientChannel, message: Message) -> Message:
        self._consoles[self._target(message)].unwatch(channel)
        return {}

    async def _ready(self, channel: ClientChannel, message: Message) -> Message:
        seconds = float(message.get("timeout", 10))
        await self._consoles[self._target(message)].port.ready(min(seconds, 60.0))
        return {}

    async def _write(self, channel: ClientChannel, message: Message) -> Message:
        name = self._leased_target(channel, message)
        await self._consoles[name].port.write(from_text(message.get("data")))
        return {}

    async def _note(self, channel: ClientChannel, message: Message) -> Message:
        path = self._note_path(self._target(message))
        try:
            return {"note": json.loads(path.read_bytes())}
        except FileNotFoundError:
            return {"note": None}
        except (OSError, ValueError) as error:
            raise BenchError(f"{path}: the note cannot be read: {error}") from error

    async def _set_note(self, channel: ClientChannel, message: Message) -> Message:
        path = self._note_path(self._leased_target(channel, message))
        note = message.get("note")
        if note is None:
            path.unlink(missing_ok=True)
            return {}
        data = json.dumps(note).encode()
        if len(data) > NOTE_LIMIT:
            raise UserError(f"a note of {len(data)} bytes: at most {NOTE_LIMIT} are kept")
        write_bytes(path, data, mode=0o600)
        return {}

    async def _mux(self, channel: ClientChannel, message: Message) -> Message:
        name, to = self._target(message), str(message.get("to"))
        if to not in ("host", "board"):
            raise UserError(f"{name}: a card goes to host or board, not to {to!r}")
        # The command that asks has a channel of its own: the lease's secret says whose it is.
        if not self._leases.allows(name, str(message.get("secret", ""))):
            raise LeaseLostError(
                f"{name}: its card is switched for the holder of its lease only",
                hint="the lease's secret comes on the command's standard input",
            )
        await self._hardware.switch_card(name, to)
        self._consoles[name].mark(f"card: to the {to}")
        return {}

    def _note_path(self, name: str) -> Path:
        return self._notes / f"{name}.json"


def _failed(number: object, error: BenchError | UserError) -> Message:
    return {"id": number, "error": error_to_message(error)}
