# SPDX-License-Identifier: Apache-2.0
"""A relay with an HTTP interface, as a network PDU has one: POST /TARGET/on, /TARGET/off,
GET /TARGET/state. It answers in plain text; 409 and the reason where it will not switch. The
bearer token is the secret of the target's lease.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

import anyio
import anyio.abc
import h11

from farm.bench.errors import RefusedError
from farm.core.errors import BenchError

_log = logging.getLogger(__name__)
_REQUEST_S = 30.0
_READ_BYTES = 8192


class Outlet(Protocol):
    """What one outlet of the relay switches."""

    async def on(self) -> None:
        """Switch on; RefusedError where that may not be."""

    async def off(self) -> None:
        """Switch off."""

    def state(self) -> str:
        """Return on, off, or fault: and what is wrong."""


class HttpRelay:
    """Serves the outlets at a port of the loopback.

    Args:
        outlets: by target.
        port: TCP port.
        allowed: whether a target's lease has this secret.
    """

    def __init__(
        self, outlets: Mapping[str, Outlet], *, port: int, allowed: Callable[[str, str], bool]
    ) -> None:
        self._outlets = outlets
        self._port = port
        self._allowed = allowed

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Serve until cancelled; started when it listens.

        Raises:
            BenchError: the port is taken.
        """
        # Not by name lookup: that finds no IPv4 where the loopback is all there is of it.
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", self._port))
            door.listen()
        except OSError as error:
            door.close()
            raise BenchError(
                f"relay: port {self._port}: {error.strerror or error}",
                hint="bring the bench up again: it chooses free ports",
            ) from error
        listener = await anyio.abc.SocketListener.from_socket(door)
        async with listener:
            task_status.started()
            await listener.serve(self._client)

    async def _client(self, stream: anyio.abc.SocketStream) -> None:
        try:
            async with stream:
                await self._converse(stream)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # It hung up, maybe while it was answered.
            pass
        except Exception:
            # A mistake of the relay's own costs one client, not the host.
            _log.exception("relay: a client's connection failed")

    async def _converse(self, stream: anyio.abc.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_READ_BYTES)
        while True:
            try:
                # Only the client's words are waited for so long; what is being switched is not cut.
                with anyio.fail_after(_REQUEST_S):
                    request = await _next_request(connection, stream)
            except h11.RemoteProtocolError as error:
                await _answer(connection, stream, error.error_status_hint, "malformed request")
                return
            except TimeoutError:
                return
            if request is None:
                return
            # An outlet is never left half switched, not even when the relay ends.
            with anyio.CancelScope(shield=True):
                status, text = await self._do(request)
            await _answer(connection, stream, status, text)
            if not (connection.our_state is h11.DONE and connection.their_state is h11.DONE):
                return
            connection.start_next_cycle()

    async def _do(self, request: h11.Request) -> tuple[int, str]:
        given = bytes(dict(request.headers).get(b"authorization", b""))
        secret = given.removeprefix(b"Bearer ").decode("ascii", errors="replace")
        name, _, verb = request.target.decode("ascii").removeprefix("/").partition("/")
        outlet = self._outlets.get(name)
        if outlet is None:
            return 404, "no such outlet"
        if not self._allowed(name, secret):
            return 401, "this relay wants the secret of the target's lease as its bearer token"
        try:
            match (request.method, verb):
                case (b"POST", "on"):
                    await outlet.on()
                case (b"POST", "off"):
                    await outlet.off()
                case (b"GET", "state"):
                    pass
                case _:
                    return 405, "POST on, POST off or GET state"
        except RefusedError as error:
            return 409, str(error)
        except BenchError as error:
            _log.warning("%s: %s: %s", name, verb, error)
            return 500, str(error)
        return 200, outlet.state()


async def _next_request(
    connection: h11.Connection, stream: anyio.abc.SocketStream
) -> h11.Request | None:
    """Read a whole request; None where the client is done.

    Raises:
        RemoteProtocolError: it is no HTTP, or too long.
    """
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive(_READ_BYTES))
            except anyio.EndOfStream:
                connection.receive_data(b"")
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None
        # h11.Data: nothing that is asked here has a body; it is read and dropped.


async def _answer(
    connection: h11.Connection, stream: anyio.abc.SocketStream, status: int, text: str
) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = text.encode(errors="replace") + b"\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body)):
        if data := connection.send(event):
            await stream.send(data)
    if data := connection.send(h11.EndOfMessage()):
        await stream.send(data)
