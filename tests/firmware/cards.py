# SPDX-License-Identifier: Apache-2.0
"""Cards made by the programs that people make them with: sfdisk, mkfs.fat, mcopy."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.core.run import run
from farm.spec.board import Board
from farm.spec.load import load

FIRST_SECTOR = 2048
START = FIRST_SECTOR * 512
BOARDS = Path(__file__).parents[2] / "boards"
ARM64_KERNEL = b"\0" * 56 + b"ARM\x64" + b"kernel" * 1000
DEVICE_TREE = b"\xd0\x0d\xfe\xed" + (64).to_bytes(4, "big") + b"\0" * 56

CONFIG = """
arm_64bit=1
enable_uart=1
uart_2ndstage=1
upstream_kernel=1
kernel=kernel8.img
initramfs initrd.img followkernel
"""


def board(name: str) -> Board:
    """A board of the checkout."""
    return load(BOARDS / f"{name}.yml", Board)


def pi_files(**changes: bytes | None) -> dict[str, bytes]:
    """The files of a card that boots a Pi 3 and a Pi 4; None leaves one out."""
    files: dict[str, bytes | None] = {
        "config.txt": CONFIG.encode(),
        "cmdline.txt": b"console=ttyAMA0,115200 console=ttyS1,115200 panic=10\n",
        "bootcode.bin": b"boot code",
        "start.elf": b"firmware 3",
        "fixup.dat": b"fixup 3",
        "start4.elf": b"firmware 4",
        "fixup4.dat": b"fixup 4",
        "bcm2837-rpi-3-b.dtb": DEVICE_TREE + b"3",
        "bcm2711-rpi-4-b.dtb": DEVICE_TREE + b"4",
        "kernel8.img": ARM64_KERNEL,
        "initrd.img": b"initrd" * 500,
    }
    files.update(changes)
    return {name: data for name, data in files.items() if data is not None}


@dataclass(frozen=True)
class MadeCard:
    """A card image with one FAT partition.

    Args:
        path: the image.
        drive: how mtools are told of the partition.
    """

    path: Path
    drive: str

    def put(self, files: Mapping[str, bytes]) -> None:
        """Copy files and their folders onto it, with one mcopy."""
        with tempfile.TemporaryDirectory(dir=self.path.parent) as name:
            folder = Path(name)
            for path, data in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
            # In the order given, so that clusters lie as a test expects.
            first = dict.fromkeys(path.partition("/")[0] for path in files)
            run(["mcopy", "-s", "-D", "o", "-i", self.drive, *(folder / x for x in first), "::"])

    def patch(self, offset: int, data: bytes) -> None:
        """Change bytes of the partition, counted from its beginning."""
        with self.path.open("r+b") as file:
            file.seek(START + offset)
            file.write(data)

    def number(self, offset: int, size: int) -> int:
        """A little-endian number of the partition."""
        with self.path.open("rb") as file:
            file.seek(START + offset)
            return int.from_bytes(file.read(size), "little")

    @property
    def table(self) -> int:
        """Where the first allocation table is, from the partition's beginning."""
        return self.number(14, 2) * self.number(11, 2)

    def link(self, cluster: int, following: int) -> None:
        """Let a cluster of a FAT32 volume be followed by another one."""
        self.patch(self.table + 4 * cluster, following.to_bytes(4, "little"))

    def clusters(self, name: str) -> list[int]:
        """A file's clusters, as mtools see them."""
        said = run(["mshowfat", "-i", self.drive, f"::{name}"]).stdout.decode()
        found: list[int] = []
        for first, _, last in re.findall(r"<(\d+)(-(\d+))?>", said):
            found.extend(range(int(first), int(last or first) + 1))
        return found


def make_card(
    path: Path,
    files: Mapping[str, bytes],
    *,
    fat: int = 32,
    mib: int = 40,
    options: tuple[str, ...] = ("-s", "1"),
) -> MadeCard:
    """Make a card with these files on its FAT partition."""
    with path.open("wb") as file:
        file.truncate(START + mib * 1024 * 1024)
    kind = "0c" if fat == 32 else "0e"
    sfdisk: list[str | Path] = ["sfdisk", "-q", "--no-reread", "--no-tell-kernel", path]
    run(sfdisk, input=f"start={FIRST_SECTOR}, type={kind}, bootable\n".encode())
    argv = ["mkfs.fat", "-F", str(fat), "-n", "TESTCARD", *options]
    run([*argv, "--offset", str(FIRST_SECTOR), path, str(mib * 1024)])
    card = MadeCard(path, f"{path}@@{START}")
    if files:
        card.put(files)
    return card
