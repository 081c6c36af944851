# SPDX-License-Identifier: Apache-2.0
"""A board is switched on with a card: what its firmware finds there, and starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from farm.firmware.card import Card, CardError, open_card
from farm.firmware.devicetree import apply_edits
from farm.firmware.extlinux import Extlinux
from farm.firmware.fat import FatVolume
from farm.firmware.mbr import FAT_TYPES, PartitionTable, read_table
from farm.firmware.outcome import (
    STOPPED,
    BootOutcome,
    BootPlan,
    FirmwareStop,
    LoadedFile,
    Trace,
)
from farm.firmware.raspberrypi import RaspberryPi
from farm.spec.board import Board, ExtlinuxFirmware, PiFirmware

__all__ = ["BootOutcome", "BootPlan", "LoadedFile", "boot_card", "boot_real"]


def boot_card(board: Board, card: Path) -> BootOutcome:
    """Do what the board's firmware does with this card, for the board's stand-in.

    The device tree of the plan has the stand-in's changes; all else is as it is on the card.

    Args:
        board: the kind of board, by its definition.
        card: a card or an image of one.

    Raises:
        UserError: the card cannot be opened. Whatever is wrong on it is an outcome, no error.
    """
    outcome = boot_real(board, card)
    plan, stand_in = outcome.plan, board.stand_in
    if plan is None or plan.device_tree is None or stand_in is None or not stand_in.device_tree:
        return outcome
    try:
        changed = apply_edits(plan.device_tree, stand_in.device_tree)
    except CardError as error:
        reason = f"stand-in: stand_in.device_tree of boards/{board.name}.yml: {error.message}"
        log = (*outcome.log[:-1], f"{STOPPED}{reason}")
        return replace(outcome, log=log, plan=None, reason=reason)
    nodes = len({edit.node for edit in stand_in.device_tree})
    note = f"stand-in: device tree changed in {nodes} nodes (stand_in.device_tree of {board.name})"
    # The firmware's own last line stays the last one before the kernel's first.
    log = (*outcome.log[:-1], note, *outcome.log[-1:])
    return replace(outcome, log=log, plan=replace(plan, device_tree=changed))


def boot_real(board: Board, card: Path) -> BootOutcome:
    """Do what the firmware of the real board does; nothing of the stand-in is applied.

    Raises:
        UserError: the card cannot be opened.
    """
    trace = Trace()
    with open_card(card) as opened:
        return trace.finish(lambda: _boot(board, opened, trace))


def _boot(board: Board, card: Card, trace: Trace) -> BootPlan:
    try:
        table = read_table(card)
        match board.firmware:
            case PiFirmware() as firmware:
                volume = _first_fat(card, table)
                return RaspberryPi(board, firmware, table, volume, trace).boot()
            case ExtlinuxFirmware():
                return Extlinux(board, card, table, trace).boot()
    except CardError as error:
        raise FirmwareStop(error.message) from error


def _first_fat(card: Card, table: PartitionTable) -> FatVolume:
    for partition in table.partitions:
        if partition.type in FAT_TYPES:
            return FatVolume(card, partition)
    types = ", ".join(f"{p.number}: {p.type:#04x}" for p in table.partitions)
    raise FirmwareStop(f"no FAT partition in the table ({types or 'it is empty'})")
