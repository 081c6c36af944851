# SPDX-License-Identifier: Apache-2.0
"""What goes on a card, judged by the firmware that will read it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from farm.core.errors import BuildError, UserError
from farm.firmware.boot import boot_real
from farm.firmware.card import open_card
from farm.firmware.fat import FatVolume
from farm.firmware.inspect import inspect
from farm.firmware.mbr import read_table
from farm.image.boot_files import boot_files
from farm.image.card import CardFile, write_card
from farm.image.slots import BLOCK
from farm.oci.tree import Entry, Kind, Tree, make_tree
from farm.spec.board import Board, PiFirmware
from tests.firmware.cards import ARM64_KERNEL, DEVICE_TREE, board

KERNEL = gzip.compress(ARM64_KERNEL, mtime=0)
PIS = ("rpi3", "rpi4")


def firmware_tree() -> Tree:
    names = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
    return make_tree(
        Entry(path=f"usr/lib/raspi-firmware/{name}", kind=Kind.FILE, mode=0o644, data=name.encode())
        for name in names
    )


def card_of(
    folder: Path, boards: Board | tuple[Board, ...], *, cmdline: str = "quiet"
) -> tuple[Path, bytes]:
    """A card of these boards, and the initramfs as it must arrive."""
    parts = []
    for number, size in enumerate((10, BLOCK, BLOCK + 1)):
        parts.append(folder / f"segment{number}")
        parts[-1].write_bytes(bytes([number + 1]) * size)
    members = (boards,) if isinstance(boards, Board) else boards
    files = boot_files(
        boards,
        kernel=KERNEL,
        dtbs={name: DEVICE_TREE for member in members for name in member.device_trees},
        segments=parts,
        firmware=firmware_tree(),
        cmdline=cmdline,
    )
    image = write_card(folder / "card.img", files, label="farm", key="x")
    arrived = b"".join(
        data + bytes(-len(data) % BLOCK) for data in (part.read_bytes() for part in parts)
    )
    return image.path, arrived


@pytest.mark.parametrize("name", [*PIS, "qemu-arm64"])
def test_the_board_boots_its_card(tmp_path: Path, name: str) -> None:
    path, initrd = card_of(tmp_path, board(name))
    outcome = boot_real(board(name), path)
    assert outcome.reason is None and outcome.plan is not None
    assert outcome.plan.kernel == KERNEL
    assert outcome.plan.initrd == initrd
    assert outcome.plan.cmdline == f"{board(name).cmdline} quiet"
    assert outcome.plan.device_tree == (DEVICE_TREE if name in PIS else None)
    report = inspect(path, board(name))
    assert (report.problems, report.warnings) == ((), ())


def test_one_card_boots_all_of_a_family(tmp_path: Path) -> None:
    members = tuple(board(name) for name in PIS)
    path, initrd = card_of(tmp_path, members)
    for member in members:
        report = inspect(path, member)
        assert report.boot.boots, report.boot.reason
        assert (report.problems, report.warnings) == ((), ())
        plan = boot_real(member, path).plan
        assert plan is not None and plan.initrd == initrd
    names = {file.path for file in report.partitions[0].files}
    assert {"/start.elf", "/start4.elf", "/bcm2837-rpi-3-b.dtb", "/bcm2711-rpi-4-b.dtb"} <= names


def changed(name: str, **firmware: object) -> Board:
    given = board(name)
    return given.model_copy(update={"firmware": given.firmware.model_copy(update=firmware)})


def test_settings_that_differ_get_sections(tmp_path: Path) -> None:
    config = f"{firmware_of('rpi4').config}gpu_mem=32\n"
    members = (board("rpi3"), changed("rpi4", config=config))
    path, _ = card_of(tmp_path, members)
    assert all(boot_real(member, path).plan is not None for member in members)
    text = read(path, "config.txt")
    assert text.index("[pi3]") < text.index("[pi4]") < text.index("gpu_mem") < text.index("[all]")


def firmware_of(name: str) -> PiFirmware:
    firmware = board(name).firmware
    assert isinstance(firmware, PiFirmware)
    return firmware


def read(path: Path, name: str) -> str:
    with open_card(path) as card:
        volume = FatVolume(card, read_table(card).partitions[0])
        entry = volume.find(name)
        assert entry is not None
        return volume.read(entry, limit_bytes=1 << 20).decode()


def files_of(*boards: Board, firmware: Tree = (), cmdline: str = "") -> tuple[CardFile, ...]:
    return boot_files(
        boards, kernel=KERNEL, dtbs={}, segments=(), firmware=firmware, cmdline=cmdline
    )


def test_a_family_shares_its_command_line() -> None:
    other = board("rpi4").model_copy(update={"cmdline": "console=ttyS1"})
    with pytest.raises(
        UserError, match=r"share one command line, and these differ: rpi3: .*; rpi4"
    ):
        files_of(board("rpi3"), other, firmware=firmware_tree())


def test_a_family_has_one_kind_of_firmware() -> None:
    other = board("qemu-arm64").model_copy(update={"cmdline": board("rpi4").cmdline})
    with pytest.raises(UserError, match=r"rpi4, qemu-arm64: boards of different firmware"):
        files_of(board("rpi4"), other, firmware=firmware_tree())


def test_a_firmware_file_that_is_not_there() -> None:
    with pytest.raises(BuildError, match=r"usr/lib/raspi-firmware/start4\.elf: not in"):
        files_of(board("rpi4"))


def test_the_command_line_is_one_line(tmp_path: Path) -> None:
    path, _ = card_of(tmp_path, board("rpi4"), cmdline="  a=1\n   b=2 ")
    assert read(path, "cmdline.txt") == f"{board('rpi4').cmdline} a=1 b=2\n"
    with pytest.raises(UserError, match="characters that are not printable"):
        files_of(board("qemu-arm64"), cmdline="a\x00b")


def test_a_plain_kernel_is_called_so(tmp_path: Path) -> None:
    plain = tmp_path / "Image"
    plain.write_bytes(ARM64_KERNEL)
    files = boot_files(
        board("qemu-arm64"), kernel=plain, dtbs={}, segments=(), firmware=(), cmdline=""
    )
    assert [file.path for file in files] == ["extlinux/extlinux.conf", "Image"]
    assert b"kernel /Image\n" in bytes(files[0].slots[0])
    assert b"initrd" not in bytes(files[0].slots[0])
