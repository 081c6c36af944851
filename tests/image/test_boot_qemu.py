# SPDX-License-Identifier: Apache-2.0
"""Cards that farm wrote, read by the virtual firmware, and what it found booted in QEMU.

Debian's own kernel and Raspberry Pi's own firmware files; the kernel, initramfs, device tree and
command line reach QEMU by way of the card only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from farm.core.arch import Arch
from farm.core.progress import LineReporter
from farm.debian import Archive, ArchiveSettings, package_tree
from farm.firmware.boot import boot_card
from farm.image.boot_files import boot_files
from farm.image.card import CardImage, write_card
from farm.kernels import PreparedKernel, device_tree, module_tree, prepare_kernel
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, Tree, make_tree
from farm.spec.board import Board
from farm.spec.project import Project
from tests.firmware.cards import board
from tests.image.guest import INIT, newc, run_board

pytestmark = [pytest.mark.network, pytest.mark.boot]

REPORTER = LineReporter()
CARD_DRIVERS = ("sdhci-iproc", "virtio_blk")
"""Not loaded by default: the root filesystem is in memory, nothing needs the card."""


@dataclass(frozen=True)
class Parts:
    """What cards are made of."""

    store: Store
    kernel: PreparedKernel
    firmware: Tree
    busybox: Entry

    def card(self, folder: Path, boards: tuple[Board, ...], cmdline: str = "") -> CardImage:
        """Write a card of these boards with the talking init."""
        wanted = [*(name for b in boards for name in b.modules), *CARD_DRIVERS]
        segments = []
        for number, tree in enumerate(
            (
                make_tree([Entry("bin/busybox", Kind.FILE, 0o755, data=self.busybox.read())]),
                module_tree(self.kernel, list(dict.fromkeys(wanted)), self.store),
                make_tree([Entry("init", Kind.FILE, 0o755, data=INIT.encode())]),
            )
        ):
            segments.append(folder / f"segment{number}")
            segments[-1].write_bytes(zstandard.compress(newc(tree)))
        files = boot_files(
            boards,
            kernel=self.store.blob_path(self.kernel.kernel.digest),
            dtbs={
                name: device_tree(self.kernel, name, self.store)
                for b in boards
                for name in b.device_trees
            },
            segments=segments,
            firmware=self.firmware,
            cmdline=cmdline,
        )
        return write_card(folder / "image.img", files, label="farm", key="test")


@pytest.fixture(scope="module")
def parts() -> Parts:
    settings = ArchiveSettings.from_environment()
    store = Store()
    kernel = prepare_kernel(
        Project.find(Path(__file__).parent).kernel("debian"), Arch.ARM64, store, settings, REPORTER
    )
    archive = Archive(settings, arch=Arch.ARM64, areas=("main", "non-free-firmware"))
    packages = archive.resolve(
        ["busybox-static", "raspi-firmware"], dependencies=False, reporter=REPORTER
    )
    trees = {
        package.name: package_tree(deb)
        for package, deb in zip(packages, archive.fetch(packages, REPORTER), strict=True)
    }
    busybox = next(e for e in trees["busybox-static"] if e.path.endswith("bin/busybox"))
    return Parts(store, kernel, trees["raspi-firmware"], busybox)


def boots(card: CardImage, name: str, work: Path) -> None:
    """Switch the board on and check what its guest says."""
    outcome = boot_card(board(name), card.path)
    assert outcome.plan is not None, outcome.reason
    assert outcome.warnings == ()
    work.mkdir()
    seen = run_board(board(name), outcome.plan, card.path, work, limit_s=240)
    stand_in = board(name).stand_in
    assert stand_in is not None
    expected = [
        *(["lease"] if stand_in.network else []),
        f"card {'mmcblk0' if stand_in.card == 'sd' else 'vda'}",
        f"cmdline {outcome.plan.cmdline}",
        "ready",
        "read hello",
        "off",
    ]
    assert seen.guest == expected, seen.whole
    # poweroff works by the watchdog's driver on a Pi.
    assert seen.ended, seen.whole


def test_qemu_arm64(parts: Parts, tmp_path: Path) -> None:
    boots(parts.card(tmp_path, (board("qemu-arm64"),)), "qemu-arm64", tmp_path / "run")


def test_one_card_boots_a_pi_3_and_a_pi_4(parts: Parts, tmp_path: Path) -> None:
    """The family's card: network, card, input and poweroff, as far as each model has them."""
    card = parts.card(tmp_path, (board("rpi3"), board("rpi4")))
    boots(card, "rpi3", tmp_path / "rpi3")
    boots(card, "rpi4", tmp_path / "rpi4")
