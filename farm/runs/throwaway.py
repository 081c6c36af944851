# SPDX-License-Identifier: Apache-2.0
"""`farm boot`: an image as the card of a virtual board that is thrown away afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from farm.bench.virtual import VirtualBoard
from farm.build.record import BuildRecord
from farm.core.copying import copy_range, data_extents
from farm.core.errors import BenchError, BuildError, UserError
from farm.core.progress import Reporter
from farm.core.run import find_program
from farm.runs.boot import Drivers, booting, trouble
from farm.runs.console_log import ConsoleLog
from farm.runs.folder import RunFolder
from farm.runs.result import Run, RunResult
from farm.smoke.verdict import Expectation, Verdict
from farm.spec.board import Board

TARGET = "virtual"
BOARD_FOLDER = "board"
_FICLONE = 0x40049409  # include/uapi/linux/fs.h


async def run_throwaway(
    image: Path,
    board: Board,
    expectation: Expectation,
    *,
    record: BuildRecord | None,
    command: Sequence[str],
    reporter: Reporter,
    results: Path | None = None,
) -> RunResult:
    """Boot an image on a virtual board of its own, with a copy of it as the card.

    Args:
        image: the image of a card.
        board: a board with a stand-in.
        expectation: what the boot must show; `expectation_for` makes it.
        record: of the build, where there is one.
        command: the command that repeats the run.
        reporter: is told how far the run is.
        results: folder for the run's folder; None for the usual place.

    Raises:
        UserError: the board has no stand-in, the image cannot be read, or QEMU or fdtput is not
            installed.
    """
    for program in (f"qemu-system-{board.arch.to_qemu()}", "fdtput"):
        find_program(program)
    with RunFolder(results, board.name) as folder:
        with folder.log() as log:
            verdict = await _verdict(image, board, expectation, folder.scratch, log, reporter)
        # What is named there lies in the run's folder in the end.
        hint = verdict.next_step.replace(str(folder.scratch / BOARD_FOLDER), str(folder.path))
        verdict = dataclasses.replace(verdict, next_step=hint)
        return folder.finish(Run(image, record, board.name, TARGET, command), verdict)


async def _verdict(
    image: Path,
    board: Board,
    expectation: Expectation,
    scratch: Path,
    log: ConsoleLog,
    reporter: Reporter,
) -> Verdict:
    verdict: Verdict | None = None
    try:
        async with (
            virtual_drivers(image, board, expectation, scratch) as drivers,
            booting(drivers, expectation, log, reporter) as boot,
        ):
            verdict = await boot.verdict()
    except BenchError as error:
        if verdict is None:
            return trouble(error, "boot")
        # The verdict stands, whatever the emulator does when it is told to end.
        reporter.note(f"{TARGET}: after the verdict: {error.message}")
    assert verdict is not None
    return verdict


@contextlib.asynccontextmanager
async def virtual_drivers(
    image: Path, board: Board, expectation: Expectation, work: Path
) -> AsyncIterator[Drivers]:
    """A virtual board with a copy of `image` as its card, both in the folder `work`.

    Raises:
        UserError: the board has no stand-in, or the image cannot be read.
    """
    ports = _free_ports([port for _, port in expectation.ports])
    card = work / "card.img"
    await anyio.to_thread.run_sync(_make_card, image, card, board)
    async with VirtualBoard(board, card, work / BOARD_FOLDER, forwards=ports) as virtual:
        networked = board.stand_in is not None and board.stand_in.network is not None
        yield Drivers(
            TARGET,
            _VirtualPower(virtual),
            virtual,
            _VirtualNetwork(ports) if networked else None,
        )


@dataclass(frozen=True)
class _VirtualPower:
    board: VirtualBoard

    async def on(self) -> None:
        await self.board.power_on()

    async def off(self) -> None:
        await self.board.power_off()

    async def state(self) -> str:
        return self.board.state


@dataclass(frozen=True)
class _VirtualNetwork:
    ports: dict[int, int]

    async def endpoint(self, port: int) -> tuple[str, int]:
        if port not in self.ports:
            raise BenchError(f"{TARGET}: port {port} is not forwarded")
        return "127.0.0.1", self.ports[port]


def _free_ports(wanted: Sequence[int]) -> dict[int, int]:
    """A port of this machine's loopback for each of the board's."""
    with contextlib.ExitStack() as stack:
        found = {}
        for port in dict.fromkeys((*wanted, 22)):
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            found[port] = int(held.getsockname()[1])
        return found


def _make_card(image: Path, card: Path, board: Board) -> None:
    """Copy an image, sharing its blocks where the file system can, and make it a card's size."""
    stand_in = board.stand_in
    if stand_in is None:
        raise UserError(f"{board.name}: has no stand-in, so that it cannot be a virtual board")
    try:
        with image.open("rb") as source, card.open("xb") as copy:
            size = os.fstat(source.fileno()).st_size
            card_bytes = stand_in.card_mib << 20
            if size > card_bytes:
                raise UserError(
                    f"{image}: {size} bytes do not fit on the card of {board.name}'s stand-in "
                    f"({stand_in.card_mib} MiB)",
                    hint="`stand_in.card_mib` of the board's file sets it",
                )
            try:
                fcntl.ioctl(copy, _FICLONE, source.fileno())
            except OSError:
                for at, length in data_extents(source.fileno(), size):
                    copy_range(source.fileno(), copy.fileno(), at, at, length)
            copy.truncate(card_bytes)
    except FileNotFoundError:
        raise UserError(f"{image}: no such file", hint="`farm build` makes an image") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise BuildError(f"{card}: no space left for a copy of {image}") from error
        raise UserError(f"{image}: cannot be read: {error.strerror}") from error
