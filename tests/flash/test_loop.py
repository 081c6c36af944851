# SPDX-License-Identifier: Apache-2.0
"""Real block devices: loop devices, which need root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.core.errors import BenchError
from farm.core.run import run
from farm.core.ssh import SshConnection
from farm.flash.blocks import image_blocks
from farm.flash.disks import check_disk
from farm.flash.refusal import RefusedError
from tests.flash.cards import MIB, boots, differing, flash_it, make_card, make_image
from tests.relay import relay
from tests.sshd import Sshd

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices"),
]


@contextlib.contextmanager
def _loop(file: Path, *options: str) -> Iterator[str]:
    device = run(["losetup", "-f", "--show", *options, file]).stdout.decode().strip()
    try:
        yield device
    finally:
        run(["losetup", "-d", device])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return make_card(tmp_path / "card")


def test_first_flash_and_change(connection: SshConnection, image: Path, card: Path) -> None:
    blocks = image_blocks(image)
    with _loop(card) as device:
        first = flash_it(connection, device, image)
        assert first.written_blocks == first.verified_blocks == len(blocks.mapped)
        with image.open("r+b") as file:
            file.seek(blocks.mapped[9] * blocks.block_bytes)
            file.write(b"changed")
        assert flash_it(connection, device, image).written_blocks == 1
        assert flash_it(connection, device, image).written_blocks == 0
    assert differing(card, image, blocks) == 0


def test_a_name_under_dev_may_be_a_link(connection: SshConnection, image: Path, card: Path) -> None:
    """As in /dev/disk/by-id; a link elsewhere is refused."""
    link = Path(f"/dev/farm-test-{os.getpid()}")
    elsewhere = card.with_name("link")
    with _loop(card) as device:
        link.symlink_to(device)
        elsewhere.symlink_to(device)
        try:
            flash_it(connection, str(link), image)
            with pytest.raises(BenchError, match="neither a block device nor a plain file"):
                flash_it(connection, str(elsewhere), image)
        finally:
            link.unlink()
    assert differing(card, image, image_blocks(image)) == 0


def test_a_cut_and_the_repair(sshd: Sshd, image: Path, card: Path) -> None:
    blocks = image_blocks(image)
    with _loop(card) as device:
        with relay(sshd.port, after=700_000) as between, pytest.raises(BenchError, match="cut"):
            flash_it(SshConnection(sshd.through(between.port)), device, image)
        assert not boots(Path(device))
        run(["blockdev", "--flushbufs", device])
        missing = differing(Path(device), image, blocks)
        report = flash_it(SshConnection(sshd.endpoint), device, image)
        assert report.repaired and report.written_blocks == missing
    assert differing(card, image, blocks) == 0


def _refused(connection: SshConnection, device: str, image: Path, why: str) -> None:
    with pytest.raises(BenchError, match=why):
        flash_it(connection, device, image)


def test_a_mounted_device(connection: SshConnection, image: Path, tmp_path: Path) -> None:
    card = tmp_path / "mounted"
    with card.open("wb") as file:
        file.truncate(32 * MIB)
    run(["mke2fs", "-q", "-F", card])
    place = tmp_path / "place"
    place.mkdir()
    with _loop(card) as device:
        run(["mount", device, place])
        try:
            old = card.read_bytes()
            _refused(connection, device, image, f"in use: what is mounted at {place} is on it")
            _refused(connection, str(card), image, f"in use: it is attached as {device}")
            assert card.read_bytes() == old
        finally:
            run(["umount", place])
        flash_it(connection, device, image)


def test_a_device_that_is_claimed_where_nobody_sees_it(
    connection: SshConnection, image: Path, card: Path
) -> None:
    """As a mount in another namespace claims it: only the exclusive open knows."""
    with _loop(card) as device:
        claim = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            _refused(connection, device, image, "in use: mounted")
        finally:
            os.close(claim)


def test_swap(connection: SshConnection, image: Path, card: Path) -> None:
    with _loop(card) as device:
        run(["mkswap", "-q", device])
        try:
            run(["swapon", device])
        except Exception:
            pytest.skip("this kernel takes no swap")
        try:
            _refused(connection, device, image, r"in use: swap")
        finally:
            run(["swapoff", device])


def test_read_only_and_too_small(connection: SshConnection, image: Path, card: Path) -> None:
    with _loop(card, "--read-only") as device:
        _refused(connection, device, image, "read-only|may not write")
    with _loop(card, "--sizelimit", str(15 * MIB)) as device:
        _refused(connection, device, image, "too small: 15728640 bytes")


def test_the_systems_own_disk() -> None:
    """By the check alone: nothing is opened."""
    number = Path("/").stat().st_dev
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    if not folder.is_dir():
        pytest.skip("no disk is known behind /")
    disk = folder.parent if (folder / "partition").exists() else folder
    major, minor = (disk / "dev").read_text().split(":")
    with pytest.raises(RefusedError, match="in use"):
        check_disk(disk.name, os.makedev(int(major), int(minor)))
