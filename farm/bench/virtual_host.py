# SPDX-License-Identifier: Apache-2.0
"""What only an agent of a virtual bench host runs: boards, their relay and mux, sshd, ser2net."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
from pydantic import ValidationError

from farm.bench.children import Child, last_words, wait_for_greeting
from farm.bench.errors import RefusedError
from farm.bench.qemu_arguments import stand_in_of
from farm.bench.relay import HttpRelay
from farm.bench.settings import AgentSettings
from farm.bench.virtual import VirtualBoard
from farm.bench.virtual_card import VirtualCard
from farm.core.errors import BenchError
from farm.spec.board import Board

_MIB = 1 << 20


@dataclass(frozen=True)
class VirtualSlot:
    """A virtual board and its card, behind one outlet of the relay."""

    name: str
    board: VirtualBoard
    card: VirtualCard
    lock: anyio.Lock

    async def on(self) -> None:
        """Switch the board on.

        Raises:
            RefusedError: the host has its card.
        """
        async with self.lock:
            if self.card.at_host:
                raise RefusedError(
                    f"{self.name}: not switched on: the bench host has its card",
                    hint="give the card to the board first",
                )
            await self.board.power_on()

    async def off(self) -> None:
        """Switch the board off."""
        async with self.lock:
            await self.board.power_off()

    def state(self) -> str:
        """Return on, off, or fault: and what is wrong."""
        return self.board.state

    async def switch_card(self, to: str) -> None:
        """Give the card to "host" or "board".

        Raises:
            RefusedError: the board is on, or the host still writes.
        """
        async with self.lock:
            if self.board.state != "off":
                raise RefusedError(
                    f"{self.name}: the card is not switched while the board is on",
                    hint="switch it off first",
                )
            self.card.switch(to)


class VirtualHost:
    """The hardware of a virtual bench host; use it in an `async with` block.

    Args:
        settings: an agent's, with a `virtual` part as `farm.bench.host_files` writes it.
    """

    def __init__(self, settings: AgentSettings) -> None:
        assert settings.virtual is not None
        self._settings = settings
        self._virtual: dict[str, Any] = settings.virtual
        self._slots: dict[str, VirtualSlot] = {}
        self._stack = contextlib.AsyncExitStack()
        self._allowed: Callable[[str, str], bool] | None = None

    async def __aenter__(self) -> VirtualHost:
        async with contextlib.AsyncExitStack() as stack:
            for name, given in self._virtual["boards"].items():
                self._slots[name] = await self._slot(name, given, stack)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.push_async_callback(_cancel, tasks)
            relay = self._virtual["relay"]
            server = HttpRelay(self._slots, port=int(relay["port"]), allowed=self._is_allowed)
            await tasks.start(server.serve)
            for given in self._virtual["children"]:
                log = self._settings.folder / f"{given['name']}.log"
                log.unlink(missing_ok=True)
                child = Child(given["name"], given["argv"], log)
                tasks.start_soon(child.run)
                if greeting := given.get("greeting"):
                    await wait_for_greeting(child, int(given["port"]), greeting.encode())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    def clock_s(self, target: str) -> float:
        """The virtual board's own clock."""
        return self._slots[target].board.clock_s

    def power(self, target: str) -> str | None:
        """The virtual board's state."""
        return self._slots[target].state()

    def tell_changes(self, changed: Callable[[str, str], None]) -> None:
        """Call `changed` with target and phase whenever a board's phase has changed."""
        for name, slot in self._slots.items():
            slot.board.phase_changed = functools.partial(_tell, changed, name, slot.board)

    def guard(self, allowed: Callable[[str, str], bool]) -> None:
        """Let the relay switch a target only with the secret of its lease."""
        self._allowed = allowed

    async def abandoned(self, target: str) -> None:
        """Switch a board off whose lease ended by itself."""
        slot = self._slots[target]
        if slot.state() != "off":
            await slot.off()

    def _is_allowed(self, target: str, secret: str) -> bool:
        return self._allowed is not None and self._allowed(target, secret)

    def complaint(self) -> str:
        """What ser2net said last: without it no console opens."""
        return f"; ser2net: {last_words(self._settings.folder / 'ser2net.log')}"

    async def switch_card(self, target: str, to: str) -> None:
        """Give a card to "host" or "board"."""
        await self._slots[target].switch_card(to)

    async def _slot(
        self, name: str, given: dict[str, Any], stack: contextlib.AsyncExitStack
    ) -> VirtualSlot:
        try:
            board = Board.model_validate(given["board"])
        except ValidationError as error:
            raise BenchError(f"{name}: its board's definition: {error}") from error
        card = VirtualCard(
            name,
            host=Path(given["card"]),
            board=self._settings.folder / "inside" / f"{name}.img",
            size_bytes=stand_in_of(board).card_mib * _MIB,
        )
        virtual = VirtualBoard(
            board,
            card.board,
            self._settings.folder / "work" / name,
            forwards={int(inside): int(port) for inside, port in given["forwards"].items()},
            tty=Path(given["tty"]),
            # A number, since a name may be long: a socket's path has 107 bytes.
            sockets=self._settings.socket.parent / str(len(self._slots)),
        )
        await stack.enter_async_context(virtual)
        return VirtualSlot(name, virtual, card, anyio.Lock())


def _tell(changed: Callable[[str, str], None], name: str, board: VirtualBoard) -> None:
    changed(name, board.phase)


async def _cancel(tasks: anyio.abc.TaskGroup) -> None:
    tasks.cancel_scope.cancel()
