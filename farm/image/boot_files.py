# SPDX-License-Identifier: Apache-2.0
"""What lies on a boot partition: the files that a board's firmware looks for, by name.

The order is the order on the card: what is the same from image to image first, the initramfs
last, so that a component more or less moves nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.image.card import CardFile
from farm.oci.tree import Kind, Tree
from farm.spec.board import Board, ExtlinuxFirmware, PiFirmware

PI_KERNEL = "kernel8.img"
"""Raspberry Pi's name of a 64-bit kernel; its firmware unpacks a gzip'ed one under any name."""
PI_INITRAMFS = "initrd.img"
EXTLINUX_CONF = "extlinux/extlinux.conf"
EXTLINUX_KERNEL = "Image.gz"
EXTLINUX_INITRAMFS = "initrd.img"


def boot_files(
    boards: Board | Sequence[Board],
    *,
    kernel: bytes | Path,
    dtbs: Mapping[str, bytes],
    segments: Sequence[Path],
    firmware: Tree,
    cmdline: str,
) -> tuple[CardFile, ...]:
    """Return the files of a card that boots these boards.

    Args:
        boards: a board, or the members of a family.
        kernel: the kernel as it goes on the card: gzip'ed, or plain.
        dtbs: device trees by the kernel's name for them, as `broadcom/NAME.dtb`.
        segments: the initramfs's parts, in order.
        firmware: the firmware component's tree; empty where the board needs none.
        cmdline: the assembly's part of the kernel command line.

    Raises:
        UserError: the boards of the family cannot share a card.
        BuildError: the firmware's tree lacks a file that a board names.
    """
    members = (boards,) if isinstance(boards, Board) else tuple(boards)
    line = _command_line(members, cmdline)
    kinds = {member.firmware.kind for member in members}
    if len(kinds) > 1:
        raise UserError(
            f"{_names(members)}: boards of different firmware ({', '.join(sorted(kinds))}) "
            "cannot share a card"
        )
    first = members[0].firmware
    if isinstance(first, ExtlinuxFirmware):
        return _extlinux(members, kernel, dtbs, segments, line)
    return _raspberry_pi(members, kernel, dtbs, segments, firmware, line)


def _raspberry_pi(
    members: Sequence[Board],
    kernel: bytes | Path,
    dtbs: Mapping[str, bytes],
    segments: Sequence[Path],
    firmware: Tree,
    line: str,
) -> tuple[CardFile, ...]:
    for member in members:
        if member.arch is not Arch.ARM64:
            raise UserError(f"{member.name}: Raspberry Pi cards are made for arm64 boards only")
    own = [(member, member.firmware) for member in members]
    pis = [(member, pi) for member, pi in own if isinstance(pi, PiFirmware)]
    config = _config_txt(pis)
    names = dict.fromkeys(name for _, pi in pis for name in pi.files)
    return (
        CardFile("config.txt", (config.encode(),)),
        CardFile("cmdline.txt", (f"{line}\n".encode(),)),
        *_firmware_files(firmware, tuple(names)),
        *_device_trees(dtbs, flat=True),
        CardFile(PI_KERNEL, (kernel,)),
        *_initramfs(PI_INITRAMFS, segments),
    )


def _config_txt(pis: Sequence[tuple[Board, PiFirmware]]) -> str:
    texts = list(dict.fromkeys(pi.config.strip() for _, pi in pis))
    lines = ["# Made by farm: the board's own settings, then what is on this card."]
    if len(texts) == 1:
        lines.append(texts[0])
    else:
        for _, pi in pis:
            lines += [f"[{pi.model}]", pi.config.strip()]
    lines += ["[all]", f"kernel={PI_KERNEL}", f"initramfs {PI_INITRAMFS} followkernel"]
    return "\n".join(lines) + "\n"


def _firmware_files(tree: Tree, names: Sequence[str]) -> list[CardFile]:
    entries = {entry.path: entry for entry in tree if entry.kind is Kind.FILE}
    files = []
    for name in names:
        path = name.lstrip("/")
        entry = entries.get(path)
        if entry is None:
            raise BuildError(
                f"{path}: not in the firmware's image",
                hint="firmware.files of the board names files of the component firmware.image",
            )
        files.append(CardFile(path.rpartition("/")[2], (entry.read(),)))
    return files


def _extlinux(
    members: Sequence[Board],
    kernel: bytes | Path,
    dtbs: Mapping[str, bytes],
    segments: Sequence[Path],
    line: str,
) -> tuple[CardFile, ...]:
    compressed = _begins_gzip(kernel)
    name = EXTLINUX_KERNEL if compressed else EXTLINUX_KERNEL.removesuffix(".gz")
    conf = [
        "# Made by farm.",
        "default farm",
        "label farm",
        f"    menu label farm on {members[0].title}",
        f"    kernel /{name}",
    ]
    if segments:
        conf.append(f"    initrd /{EXTLINUX_INITRAMFS}")
    if dtbs:
        conf.append("    fdtdir /dtbs")
    conf.append(f"    append {line}")
    return (
        CardFile(EXTLINUX_CONF, ("\n".join(conf).encode() + b"\n",)),
        *_device_trees(dtbs, flat=False),
        CardFile(name, (kernel,)),
        *_initramfs(EXTLINUX_INITRAMFS, segments),
    )


def _device_trees(dtbs: Mapping[str, bytes], *, flat: bool) -> list[CardFile]:
    return [
        CardFile(name.rpartition("/")[2] if flat else f"dtbs/{name}", (data,))
        for name, data in sorted(dtbs.items())
    ]


def _initramfs(name: str, segments: Sequence[Path]) -> list[CardFile]:
    return [CardFile(name, tuple(segments))] if segments else []


def _command_line(members: Sequence[Board], cmdline: str) -> str:
    lines = dict.fromkeys(" ".join(member.cmdline.split()) for member in members)
    if len(lines) > 1:
        given = "; ".join(f"{member.name}: {member.cmdline}" for member in members)
        raise UserError(
            f"the boards of a family share one command line, and these differ: {given}",
            hint="name the consoles of all of them in each board's cmdline, in the same order",
        )
    line = " ".join(f"{next(iter(lines))} {cmdline}".split())
    if not line.isprintable():
        raise UserError(f"kernel.cmdline: has characters that are not printable: {line!r}")
    return line


def _begins_gzip(kernel: bytes | Path) -> bool:
    if isinstance(kernel, bytes):
        return kernel[:2] == b"\x1f\x8b"
    try:
        with kernel.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise BuildError(f"{kernel}: {error.strerror}") from error


def _names(members: Sequence[Board]) -> str:
    return ", ".join(member.name for member in members)
