# SPDX-License-Identifier: Apache-2.0
"""One bench host as a client sees it, and the claim of a target there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from farm.bench.agent_link import AgentLink, lease_lost
from farm.bench.errors import BusyError
from farm.bench.host_drivers import AgentConsole
from farm.bench.protocol import Message
from farm.core.errors import BenchError, FarmError
from farm.core.ssh import SshConnection, SshEndpoint
from farm.spec.bench import SshHost

_GIVE_BACK_S = 5.0


class BenchHost:
    """One bench host: an SSH connection, and links to its agent."""

    def __init__(
        self, bench: str, name: str, settings: SshHost, tasks: anyio.abc.TaskGroup
    ) -> None:
        self.name = f"{bench}/{name}"
        self._settings = settings
        self._tasks = tasks
        self.connection = SshConnection(
            SshEndpoint(
                name=self.name,
                address=settings.address,
                port=settings.port,
                user=settings.user,
                identity=_path(settings.identity),
                known_hosts=_path(settings.known_hosts),
            )
        )

    @contextlib.asynccontextmanager
    async def link(
        self,
        *,
        heard: Callable[[Message], None] = lambda event: None,
        lost: Callable[[BenchError], None] = lambda error: None,
    ) -> AsyncIterator[AgentLink]:
        """A channel to the agent, greeted; it ends with the block.

        Raises:
            BenchError: the host or its agent cannot be reached.
        """
        argv = (*self._settings.agent, "connect", self._settings.agent_socket)
        await anyio.to_thread.run_sync(self.connection.connect, abandon_on_cancel=True)
        pipe = await anyio.to_thread.run_sync(self.connection.open, argv)
        link = AgentLink(self.name, pipe, heard=heard, lost=lost)
        self._tasks.start_soon(link.run)
        try:
            await link.open()
            yield link
        finally:
            await link.close()


class Claim:
    """What one host is asked for: one of some targets, over a link of its own."""

    def __init__(
        self,
        host: BenchHost,
        names: tuple[str, ...],
        owner: str,
        reason: str,
        queued: Callable[[int], None],
    ) -> None:
        self.host = host
        self.link: AgentLink | None = None
        self.lost = anyio.Event()
        self.busy: BusyError | None = None
        self.got: str | None = None
        self.secret = ""
        self._wanted: Message = {"targets": names, "owner": owner, "reason": reason}
        self._queued = queued
        self._console: AgentConsole | None = None
        self._error: BenchError | None = None

    async def try_now(self, stack: contextlib.AsyncExitStack) -> bool:
        """Ask without waiting; the link stays for a later wait."""
        self.link = await stack.enter_async_context(
            self.host.link(heard=self._heard, lost=self._link_lost)
        )
        try:
            self._granted(await self.link.ask("lease", self._wanted))
        except BusyError as error:
            self.busy = error
            return False
        return True

    async def wait_turn(self, wait_s: float) -> bool:
        """Wait in the queue; whoever stops waiting must end the link."""
        if self.link is None:
            return False
        try:
            answer = await self.link.ask("lease", {**self._wanted, "wait": True}, answer_s=wait_s)
        except BenchError:
            return False
        self._granted(answer)
        return True

    def console_of(self, name: str, what: str) -> AgentConsole:
        """The console that this link's events go to."""
        self._console = AgentConsole(what, name)
        if self._error is not None:
            self._console.fail(self._error)
        return self._console

    def check(self) -> None:
        """Raise where the lease is lost."""
        if self._error is not None:
            raise self._error

    async def give_back(self) -> None:
        """Release the lease in order, so that the log tells a run's end from its death."""
        if self.link is not None and not self.lost.is_set():
            with contextlib.suppress(FarmError):
                await self.link.ask("release", {"target": self.got}, answer_s=_GIVE_BACK_S)

    def _granted(self, answer: Message) -> None:
        self.got = str(answer["target"])
        self.secret = str(answer.get("secret", ""))

    def _heard(self, event: Message) -> None:
        match event["event"]:
            case "queue":
                self._queued(int(event["place"]))
            case "lost":
                self._lose(str(event["why"]))
            case _ if self._console is not None:
                self._console.take(event)

    def _link_lost(self, error: BenchError) -> None:
        self._lose(str(error))

    def _lose(self, why: str) -> None:
        if self._error is None and self.got is not None:
            self._error = lease_lost(f"{self.host.name}: {self.got}", why)
            self.lost.set()
            if self._console is not None:
                self._console.fail(self._error)


async def first_turn(claims: Sequence[Claim], wait_s: float) -> Claim | None:
    """Wait in the queues of all hosts; the first turn ends the others' waiting."""
    got: list[Claim] = []

    async def wait(claim: Claim) -> None:
        if await claim.wait_turn(wait_s) and not got:
            got.append(claim)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for claim in claims:
            tasks.start_soon(wait, claim)
    for claim in claims:
        if claim.link is not None and claim not in got:
            await claim.link.close()
    return got[0] if got else None


def _path(given: str | None) -> Path | None:
    return None if given is None else Path(given).expanduser()
