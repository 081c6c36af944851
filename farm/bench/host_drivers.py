# SPDX-License-Identifier: Apache-2.0
"""The drivers of `bench.yml`: HTTP power, SD mux, consoles by the agent, networks.

Each acts on the bench host, through its SSH connection, and checks before each step that the
lease is still held.
"""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from farm.bench.agent_link import AgentLink
from farm.bench.drivers import ConsoleChunk
from farm.bench.errors import RefusedError
from farm.bench.protocol import Message, from_text, to_text
from farm.bench.stream import ConsoleStream
from farm.core.errors import BenchError, UserError
from farm.core.ssh import SshConnection
from farm.spec import bench as spec

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)
_HTTP_S = 30.0
_AGAIN_S = 0.2
_COMMAND_S = 60.0
_WRITE_BYTES = 16 << 10
_READY_S = 10.0


class _HungUpError(BenchError):
    """The relay ended the connection in place of an answer."""


class Forwards:
    """Ports of this machine that lead to the bench host's network, while a lease lasts."""

    def __init__(self, connection: SshConnection) -> None:
        self._connection = connection
        self._stack = contextlib.ExitStack()
        self._ports: dict[tuple[str, int], int] = {}
        self._lock = anyio.Lock()

    async def port(self, address: str, port: int) -> int:
        """Return the port of this machine's loopback that leads to `address`:`port`.

        Raises:
            BenchError: SSH is cut.
        """
        async with self._lock:
            if (address, port) not in self._ports:
                self._ports[address, port] = await anyio.to_thread.run_sync(
                    self._stack.enter_context, self._connection.forward(address, port)
                )
            return self._ports[address, port]

    async def close(self) -> None:
        """End them all."""
        await anyio.to_thread.run_sync(self._stack.close)


class HttpPower:
    """A relay that is switched by HTTP requests, sent from the bench host's network.

    Args:
        what: host and target, for messages.
        settings: from the bench's file.
        before_on: awaited before the power comes: the console is open by then.
        check: raises where the lease is lost.
        secret: the lease's, for a relay that wants it.
    """

    def __init__(
        self,
        what: str,
        settings: spec.HttpPower,
        forwards: Forwards,
        *,
        before_on: Callable[[], Awaitable[None]],
        check: Callable[[], None],
        secret: str,
    ) -> None:
        self._what = what
        self._secret = secret
        self._settings = settings
        self._forwards = forwards
        self._before_on = before_on
        self._check = check
        self._client: httpx.AsyncClient | None = None

    async def on(self) -> None:
        """Switch on.

        Raises:
            RefusedError: the relay will not, as things stand.
            BenchError: the relay cannot be reached or fails.
        """
        await self._before_on()
        await self._send("POST", self._settings.on, "power on")

    async def off(self) -> None:
        """Switch off; errors as `on`."""
        await self._send("POST", self._settings.off, "power off")

    async def state(self) -> str:
        """Return "on", "off", or "fault: …"; errors as `on`."""
        step = "power state"
        try:
            return await self._send("GET", self._settings.state, step)
        except _HungUpError as error:
            # As a relay does that ends an idle connection just when it is used again.
            _log.warning("%s; asked once more", error)
            await anyio.sleep(_AGAIN_S)
            return await self._send("GET", self._settings.state, step)

    async def close(self) -> None:
        """End the connection to the relay."""
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, method: str, path: str, step: str) -> str:
        import httpx

        self._check()
        client = await self._connected()
        try:
            answer = await client.request(method, path)
        except httpx.HTTPError as error:
            gone = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
            kind = _HungUpError if isinstance(error, gone) else BenchError
            raise kind(
                f"{self._what}: {step}: the relay does not answer: {error!r}",
                hint=f"is it reachable from the host at {self._settings.address}:"
                f"{self._settings.port}?",
            ) from error
        said = answer.text.strip()[:500]
        if answer.status_code == httpx.codes.CONFLICT:
            raise RefusedError(f"{self._what}: {step}: refused: {said}")
        if answer.is_error:
            raise BenchError(f"{self._what}: {step}: relay: {answer.status_code} {said}")
        return said

    async def _connected(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            port = await self._forwards.port(self._settings.address, self._settings.port)
            headers = {}
            token: str | None = self._secret
            if self._settings.token != spec.LEASE_TOKEN:
                token = read_token(self._settings.token, self._what)
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            self._client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers=headers,
                timeout=_HTTP_S,
                trust_env=False,
            )
        return self._client


class MuxStorage:
    """An SD mux that is switched by commands on the bench host.

    A command gets the lease's secret as a line on its standard input, where other programs of
    the host do not see it; a mux that knows of no leases does not read it.
    """

    def __init__(
        self,
        what: str,
        settings: spec.MuxStorage,
        connection: SshConnection,
        *,
        check: Callable[[], None],
        secret: str,
    ) -> None:
        self._what = what
        self._input = f"{secret}\n".encode()
        self._settings = settings
        self._connection = connection
        self._check = check

    async def to_host(self) -> str:
        """Give the card to the host and return its path there.

        Raises:
            BenchError: the command fails, or SSH is cut.
        """
        await self._run(self._settings.to_host, "card to the host")
        return self._settings.device

    async def to_board(self) -> None:
        """Give the card to the board; errors as `to_host`."""
        await self._run(self._settings.to_board, "card to the board")

    async def _run(self, argv: Sequence[str], step: str) -> None:
        self._check()
        done = await anyio.to_thread.run_sync(
            lambda: self._connection.run(argv, timeout_s=_COMMAND_S, input=self._input)
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()[-500:] or "without a word"
            raise BenchError(f"{self._what}: {step}: exit code {done.returncode}: {said}")


class AgentConsole:
    """A console that the host's agent reads; each `chunks()` is a reader of its own."""

    def __init__(self, what: str, target: str) -> None:
        self._what = what
        self._target = target
        self._streams: weakref.WeakSet[ConsoleStream] = weakref.WeakSet()
        self._link: AgentLink | None = None
        self._error: BenchError | None = None

    async def open(self, link: AgentLink) -> None:
        """Begin to watch, at a link whose events go to `take`."""
        await link.ask("watch", {"target": self._target})
        self._link = link

    def chunks(self) -> AsyncIterator[ConsoleChunk]:
        """What the console says from this call on; ends in a BenchError."""
        stream = ConsoleStream(self._what)
        if self._error is not None:
            stream.fail(self._error)
        self._streams.add(stream)
        return stream

    async def write(self, data: bytes) -> None:
        """Type `data`.

        Raises:
            LeaseLostError: this client has no lease of the target.
            BenchError: the port is not open, or the link is gone.
        """
        for start in range(0, len(data), _WRITE_BYTES):
            await self._ask("write", data=to_text(data[start : start + _WRITE_BYTES]))

    async def ready(self) -> None:
        """Wait until the port is open and what was left in it has come out.

        Raises:
            BenchError: it does not open.
        """
        await self._ask("ready", timeout=_READY_S)

    def take(self, event: Message) -> None:
        """Take an event of the agent."""
        if event.get("target") != self._target:
            return
        match event["event"]:
            case "console":
                chunk = ConsoleChunk(
                    from_text(event["data"]), float(event["clock"]), float(event["wall"])
                )
                for stream in self._streams:
                    stream.feed(chunk)
            case "power" if str(event["state"]).startswith("fault"):
                self._end_streams(BenchError(f"{self._what}: power: {event['state']}"))
            case "dropped":
                self.fail(BenchError(f"{self._what}: console: {event['why']}"))

    def fail(self, error: BenchError) -> None:
        """End all readers, now and later."""
        self._error = self._error or error
        self._end_streams(error)

    def _end_streams(self, error: BenchError) -> None:
        for stream in self._streams:
            stream.fail(error)

    async def _ask(self, do: str, **fields: object) -> None:
        if self._error is not None:
            raise self._error
        assert self._link is not None
        await self._link.ask(do, {"target": self._target, **fields})


class ForwardedNetwork:
    """The board's ports are forwarded to ports of the bench host."""

    def __init__(self, what: str, settings: spec.ForwardedNetwork, forwards: Forwards) -> None:
        self._what = what
        self._settings = settings
        self._forwards = forwards

    async def endpoint(self, port: int) -> tuple[str, int]:
        """Return where this machine reaches the board's `port`.

        Raises:
            UserError: that port is not forwarded.
            BenchError: SSH is cut.
        """
        at_host = self._settings.ports.get(port)
        if at_host is None:
            known = ", ".join(str(known) for known in self._settings.ports)
            raise UserError(
                f"{self._what}: port {port} is not forwarded (forwarded: {known})",
                hint="name it in the target's `ports:` in the bench's file",
            )
        return "127.0.0.1", await self._forwards.port("127.0.0.1", at_host)


class DirectNetwork:
    """The board has an address of its own in the bench host's network."""

    def __init__(self, what: str, settings: spec.DirectNetwork, forwards: Forwards) -> None:
        self._what = what
        self._settings = settings
        self._forwards = forwards

    async def endpoint(self, port: int) -> tuple[str, int]:
        """Return where this machine reaches the board's `port`.

        Raises:
            BenchError: the address is not known, or SSH is cut.
        """
        if self._settings.address is None:
            raise BenchError(
                f"{self._what}: network: the board's address is not known",
                hint="give it in the bench's file: network: {driver: direct, address: …}",
            )
        return "127.0.0.1", await self._forwards.port(self._settings.address, port)


def read_token(given: str | None, what: str) -> str | None:
    """Return the secret that a bench file names: `file:PATH`, or an environment variable.

    Raises:
        BenchError: it is not there.
    """
    if given is None:
        return None
    if given.startswith("file:"):
        path = Path(given.removeprefix("file:")).expanduser()
        try:
            return path.read_text().strip()
        except OSError as error:
            raise BenchError(f"{what}: token: {path}: {error.strerror}") from error
    if (value := os.environ.get(given)) is None:
        raise BenchError(f"{what}: token: the environment has no variable {given}")
    return value
