# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for a board's stand-in. Source: qemu(1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.core.errors import UserError
from farm.spec.board import Board, StandIn


@dataclass(frozen=True)
class MachineFiles:
    """Where one start of QEMU finds what it needs.

    Args:
        card: the card's image, raw.
        kernel, initrd, device_tree: what the firmware found on the card.
        console, control: unix sockets at which QEMU calls the serial console and QMP.
    """

    card: Path
    kernel: Path
    initrd: Path | None
    device_tree: Path | None
    console: Path
    control: Path


def stand_in_of(board: Board) -> StandIn:
    """Return a board's stand-in.

    Raises:
        UserError: it has none.
    """
    if board.stand_in is None:
        raise UserError(
            f"board {board.name}: has no QEMU stand-in",
            hint="give its file a `stand_in:`, or use a real board",
        )
    return board.stand_in


def qemu_argv(
    board: Board, files: MachineFiles, *, cmdline: str, forwards: Mapping[int, int]
) -> tuple[str, ...]:
    """Return the command that starts a board, stopped, until `cont` comes by QMP.

    Args:
        board: a board with a stand-in.
        files: kernel, card and sockets.
        cmdline: the kernel's command line, as the firmware made it.
        forwards: TCP port of the board → port of this machine's loopback.
    """
    stand_in = stand_in_of(board)
    argv = [
        f"qemu-system-{board.arch.to_qemu()}",
        *("-name", f"guest={board.name},debug-threads=on"),
        *("-S", "-no-reboot", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-machine", stand_in.machine, "-accel", stand_in.accel),
        *("-m", f"{stand_in.memory_mib}M"),
    ]
    if stand_in.cpu is not None:
        argv += ["-cpu", stand_in.cpu]
    if stand_in.cpus is not None:
        argv += ["-smp", str(stand_in.cpus)]
    argv += ["-kernel", str(files.kernel), "-append", cmdline]
    if files.initrd is not None:
        argv += ["-initrd", str(files.initrd)]
    if files.device_tree is not None:
        argv += ["-dtb", str(files.device_tree)]
    argv += ["-chardev", f"socket,id=console,path={_quoted(files.console)}"]
    argv += ["-serial", "null"] * stand_in.console_port
    argv += ["-serial", "chardev:console"]
    argv += ["-chardev", f"socket,id=control,path={_quoted(files.control)}"]
    argv += ["-mon", "chardev=control,mode=control"]
    argv += _card(stand_in, files.card)
    argv += _network(stand_in, forwards)
    return (*argv, *stand_in.args)


def _card(stand_in: StandIn, card: Path) -> list[str]:
    drive = f"id=card,format=raw,file={_quoted(card)}"
    if stand_in.card == "sd":
        return ["-drive", f"if=sd,{drive}"]
    return ["-drive", f"if=none,{drive}", "-device", "virtio-blk-pci,drive=card"]


def _network(stand_in: StandIn, forwards: Mapping[int, int]) -> list[str]:
    if stand_in.network is None:
        return []
    # restrict: the guest has DHCP and is reached by its forwarded ports, and reaches nothing.
    ports = "".join(
        f",hostfwd=tcp:127.0.0.1:{outside}-:{inside}" for inside, outside in forwards.items()
    )
    return [
        *("-netdev", f"user,id=n0,restrict=on{ports}"),
        # As the board's file has it, `netdev=n0` included.
        *("-device", stand_in.network),
    ]


def _quoted(path: Path) -> str:
    # In QEMU's option lists a comma in a value is written twice.
    return str(path).replace(",", ",,")
