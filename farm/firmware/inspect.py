# SPDX-License-Identifier: Apache-2.0
"""What is on a card, what a board's firmware would do with it, and whether it would boot."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from farm.core.arch import Arch
from farm.firmware.boot import BootOutcome, boot_real
from farm.firmware.card import CardError, open_card, printable
from farm.firmware.fat import FatVolume
from farm.firmware.mbr import FAT_TYPES, Partition, PartitionTable, check_fits, read_table
from farm.spec.board import Board

MAX_LISTED = 2_000
_TYPES = {
    0x05: "extended",
    0x0F: "extended",
    0x07: "NTFS or exFAT",
    0x82: "Linux swap",
    0x83: "Linux",
    0xEF: "EFI system",
}
_CONSOLE = re.compile(r"(?:^|\s)console=([A-Za-z]+[0-9]*)")


@dataclass(frozen=True)
class FileReport:
    """A file of a FAT partition."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class PartitionReport:
    """A partition, and what is on it if it is FAT."""

    number: int
    type: str
    offset: int
    size_bytes: int
    bootable: bool
    filesystem: str | None = None
    label: str | None = None
    files: tuple[FileReport, ...] = ()
    more_files: int = 0


@dataclass(frozen=True)
class BootReport:
    """What the board's firmware does with the card."""

    boots: bool
    reason: str | None
    kernel: str | None
    device_tree: str | None
    initrd: tuple[str, ...]
    cmdline: str | None
    log: tuple[str, ...]


@dataclass(frozen=True)
class CardReport:
    """The whole report; `boot.boots` is the answer, `problems` are damage on the card."""

    image: str
    size_bytes: int
    board: str
    disk_id: str | None
    partitions: tuple[PartitionReport, ...]
    boot: BootReport
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_text(self) -> str:
        """Return the report for a person."""
        lines = [f"{self.image}: {self.size_bytes} bytes, disk id {self.disk_id or 'none'}"]
        for partition in self.partitions:
            lines.extend(_partition_text(partition))
        boot = self.boot
        if boot.boots:
            lines.append(f"{self.board}: the firmware starts {boot.kernel}")
            lines.append(f"  device tree: {boot.device_tree or 'none on the card'}")
            lines.append(f"  initramfs:   {', '.join(boot.initrd) or 'none'}")
            lines.append(f"  cmdline:     {printable(boot.cmdline or '', 2048) or '(empty)'}")
        else:
            lines.append(f"{self.board}: would not boot: {boot.reason}")
        lines.extend(f"problem: {text}" for text in self.problems)
        lines.extend(f"warning: {text}" for text in self.warnings)
        return "\n".join(lines) + "\n"


def inspect(image: Path, board: Board) -> CardReport:
    """Look at a card or an image of one, as `board` would.

    Raises:
        UserError: it cannot be opened. Whatever is wrong on it is in the report.
    """
    problems: list[str] = []
    with open_card(image) as card:
        size = card.size_bytes
        table: PartitionTable | None = None
        reports: list[PartitionReport] = []
        try:
            table = read_table(card)
        except CardError as error:
            problems.append(error.message)
        for partition in table.partitions if table else ():
            volume: FatVolume | None = None
            try:
                check_fits(card, partition)
                if partition.type in FAT_TYPES:
                    volume = FatVolume(card, partition)
            except CardError as error:
                problems.append(error.message)
            reports.append(_partition(partition, volume, problems))
    outcome = boot_real(board, image)
    warnings = [*outcome.warnings]
    if table:
        warnings.extend(_overlaps(table))
    if outcome.plan:
        warnings.extend(_console_warnings(board, outcome.plan.cmdline))
        if board.arch is Arch.ARM64 and not _is_arm64_kernel(outcome.plan.kernel):
            warnings.append(f"{_path(outcome, 'kernel')}: not an arm64 Linux Image")
    return CardReport(
        image=str(image),
        size_bytes=size,
        board=board.name,
        disk_id=f"{table.disk_id:08x}" if table else None,
        partitions=tuple(reports),
        boot=_boot(outcome),
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _partition(
    partition: Partition, volume: FatVolume | None, problems: list[str]
) -> PartitionReport:
    files: list[FileReport] = []
    more = 0
    if volume:
        try:
            for entry in volume.walk():
                if entry.is_folder:
                    continue
                try:
                    volume.runs(entry)
                except CardError as error:
                    problems.append(error.message)
                if len(files) < MAX_LISTED:
                    files.append(FileReport(printable(entry.path), entry.size_bytes))
                else:
                    more += 1
        except CardError as error:
            problems.append(error.message)
    kind = "FAT" if partition.type in FAT_TYPES else _TYPES.get(partition.type, "")
    return PartitionReport(
        number=partition.number,
        type=f"{partition.type:#04x}" + (f" ({kind})" if kind else ""),
        offset=partition.offset,
        size_bytes=partition.size_bytes,
        bootable=partition.bootable,
        filesystem=volume.geometry.kind if volume else None,
        label=printable(volume.label) if volume else None,
        files=tuple(files),
        more_files=more,
    )


def _boot(outcome: BootOutcome) -> BootReport:
    plan = outcome.plan
    return BootReport(
        boots=plan is not None,
        reason=outcome.reason,
        kernel=_path(outcome, "kernel"),
        device_tree=_path(outcome, "device tree"),
        initrd=tuple(f.path for f in outcome.files if f.role == "initrd"),
        cmdline=plan.cmdline if plan else None,
        log=outcome.log,
    )


def _path(outcome: BootOutcome, role: str) -> str | None:
    return next((printable(f.path) for f in outcome.files if f.role == role), None)


def _overlaps(table: PartitionTable) -> list[str]:
    ordered = sorted(table.partitions, key=lambda p: p.first_sector)
    return [
        f"partitions {a.number} and {b.number} overlap"
        for a, b in itertools.pairwise(ordered)
        if a.first_sector + a.sectors > b.first_sector
    ]


def _console_warnings(board: Board, cmdline: str) -> list[str]:
    own = _CONSOLE.findall(board.cmdline)
    given = _CONSOLE.findall(cmdline)
    if not own or set(own) & set(given):
        return []
    wanted = " or ".join(f"console={name}" for name in own)
    return [f"cmdline: no {wanted}: nothing will be seen on the serial console of {board.name}"]


def _is_arm64_kernel(kernel: bytes) -> bool:
    # Source: the kernel's Documentation/arch/arm64/booting.rst: the magic at byte 56.
    head = kernel[:64]
    if kernel[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(wbits=31).decompress(kernel[:65536], 64)
        except zlib.error:
            return False
    return head[56:60] == b"ARM\x64"


def _partition_text(partition: PartitionReport) -> list[str]:
    flag = ", bootable" if partition.bootable else ""
    head = (
        f"partition {partition.number}: {partition.type}, {partition.size_bytes} bytes "
        f"at {partition.offset}{flag}"
    )
    if partition.filesystem:
        head += f": {partition.filesystem} {partition.label!r}"
    lines = [head]
    lines.extend(f"  {file.size_bytes:>10}  {file.path}" for file in partition.files)
    if partition.more_files:
        lines.append(f"  and {partition.more_files} more files")
    return lines
