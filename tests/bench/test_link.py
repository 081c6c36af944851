# SPDX-License-Identifier: Apache-2.0
"""A client's end of the protocol, over a pipe that may block."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest

from farm.bench.agent_link import AgentLink
from farm.bench.protocol import GREETING, Message, decode, encode
from farm.core.errors import BenchError

pytestmark = pytest.mark.anyio


class Pipe:
    """An agent that answers every request, but takes none while `stuck`."""

    stderr = b""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.said.put(GREETING.encode() + b"\n")
        self.asked: list[Message] = []
        self.takes = threading.Event()
        self.takes.set()

    def read(self, size: int = 65536) -> bytes:
        return self.said.get()

    def write(self, data: bytes) -> None:
        self.takes.wait()
        message = decode(data)
        self.asked.append(message)
        self.said.put(encode({"id": message["id"], "ok": {}}))

    def close(self) -> None:
        self.takes.set()
        self.said.put(b"")


@dataclass
class Linked:
    link: AgentLink
    pipe: Pipe


@pytest.fixture
async def linked() -> AsyncIterator[Linked]:
    pipe = Pipe()
    link = AgentLink("h", pipe)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        await link.open()
        yield Linked(link, pipe)
        await link.close()


async def test_a_request_that_is_not_taken_ends_with_its_time(linked: Linked) -> None:
    linked.pipe.takes.clear()
    with anyio.fail_after(30), pytest.raises(BenchError, match=r"h: status: no answer .* in 0.1 s"):
        await linked.link.ask("status", answer_s=0.1)


async def test_a_request_that_is_not_taken_can_be_cancelled(linked: Linked) -> None:
    linked.pipe.takes.clear()
    with anyio.move_on_after(0.1) as scope:
        await linked.link.ask("status")
    assert scope.cancelled_caught
    with anyio.move_on_after(0.1):
        await linked.link.ask("never sent")
    linked.pipe.takes.set()
    assert await linked.link.ask("note") == {}
    assert [message["do"] for message in linked.pipe.asked] == ["hello", "status", "note"]


async def test_a_cancelled_run_may_still_give_back() -> None:
    pipe = Pipe()
    link = AgentLink("h", pipe)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        await link.open()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(30):
            assert await link.ask("release") == {}
            await link.close()
    with pytest.raises(BenchError, match="h: the link to the agent is closed"):
        await link.ask("release")
