# SPDX-License-Identifier: Apache-2.0
"""Flashing a plain file over a real SSH server: what is written, sent, refused."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from farm.core.errors import BenchError, ExitCode, UserError
from farm.core.progress import SilentReporter
from farm.core.ssh import SshConnection
from farm.flash.blocks import image_blocks
from farm.flash.client import flash
from farm.flash.wire import BLOCK_BYTES
from tests.flash.cards import (
    MIB,
    Watcher,
    boots,
    differing,
    flash_it,
    make_card,
    make_image,
    mapped,
)
from tests.sshd import Sshd, make_key


def test_first_flash_then_none_then_one_block(connection: SshConnection, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    blocks = image_blocks(image)
    old = card.read_bytes()
    watcher = Watcher()

    first = flash_it(connection, card, image, reporter=watcher)
    assert mapped(card, blocks) == mapped(image, blocks)
    assert first.written_blocks == first.verified_blocks == len(blocks.mapped)
    assert first.same_blocks == 0 and not first.repaired
    total = len(blocks.mapped) * BLOCK_BYTES
    assert all(0 <= done <= (of or 0) == total for done, of, _ in watcher.progress)
    assert [done for done, _, _ in watcher.progress] == sorted(d for d, _, _ in watcher.progress)

    unmapped = set(range(len(old) // BLOCK_BYTES)) - set(blocks.mapped)
    new = card.read_bytes()
    assert len(new) == len(old)
    for index in unmapped:
        at = slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
        assert new[at] == old[at]

    before = card.stat()
    again = flash_it(connection, card, image)
    assert again.written_blocks == 0
    assert again.same_blocks == again.verified_blocks == len(blocks.mapped)
    assert card.stat().st_mtime_ns == before.st_mtime_ns

    with image.open("r+b") as file:
        file.seek(blocks.mapped[30] * BLOCK_BYTES + 77)
        file.write(b"changed")
    change = flash_it(connection, card, image)
    assert (change.written_blocks, change.verified_blocks) == (1, len(blocks.mapped))
    assert change.sent_bytes < again.sent_bytes + BLOCK_BYTES + 1000
    assert mapped(card, blocks) == mapped(image, blocks)
    assert boots(card)


def test_a_change_in_the_first_block_alone(connection: SshConnection, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    card = make_card(tmp_path / "card", like=image)
    with image.open("r+b") as file:
        file.seek(100)
        file.write(b"changed")
    report = flash_it(connection, card, image)
    assert report.written_blocks == 1
    assert differing(card, image, image_blocks(image)) == 0


@pytest.mark.parametrize(
    "size", [512, 1024, BLOCK_BYTES, 3 * BLOCK_BYTES + 512, 2 * MIB + 4096 + 512]
)
def test_images_of_odd_sizes(connection: SshConnection, tmp_path: Path, size: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(510) + b"\x55\xaa" + b"x" * (size - 512))
    card = tmp_path / "card"
    card.write_bytes(b"\xff" * size)
    flash_it(connection, card, image)
    assert card.read_bytes() == image.read_bytes()


def test_zero_blocks_cost_a_few_bytes(connection: SshConnection, tmp_path: Path) -> None:
    image, card = tmp_path / "image", make_card(tmp_path / "card")
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(16 * MIB - 512))
    report = flash_it(connection, card, image)
    assert report.written_blocks == 256
    assert report.sent_bytes < 40_000
    assert card.read_bytes()[: 16 * MIB] == image.read_bytes()


def test_compressible_blocks_by_zlib_and_zstd(
    tmp_path: Path, connection: SshConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\1" * 510 + b"\x55\xaa" + b"0123456789abcdef" * (8 * MIB // 16 - 32))
    assert shutil.which("zstd")
    by_zstd = flash_it(connection, make_card(tmp_path / "card"), image)
    assert (tmp_path / "card").read_bytes()[: 8 * MIB] == image.read_bytes()
    monkeypatch.setattr("farm.flash.codec._ZSTD_BLOCKS", 1000)
    by_zlib = flash_it(connection, make_card(tmp_path / "card"), image)
    assert (tmp_path / "card").read_bytes()[: 8 * MIB] == image.read_bytes()
    assert by_zstd.sent_bytes < 40_000 and by_zlib.sent_bytes < 100_000


def test_a_talkative_shell_is_ignored(tmp_path: Path) -> None:
    force = 'ForceCommand echo Welcome; seq 2000; eval "$SSH_ORIGINAL_COMMAND"'
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with Sshd.start(tmp_path / "sshd", force) as server:
        flash_it(SshConnection(server.endpoint), card, image)
    assert differing(card, image, image_blocks(image)) == 0


def test_no_python_on_the_host(tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    force = "ForceCommand /nowhere/python3"
    with (
        Sshd.start(tmp_path / "sshd", force) as server,
        pytest.raises(BenchError, match="no /usr/bin/python3") as caught,
    ):
        flash_it(SshConnection(server.endpoint), card, image)
    assert "apt-get install" in (caught.value.hint or "")


def test_a_host_that_says_something_else(tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    old = card.read_bytes()
    with (
        Sshd.start(tmp_path / "sshd", "ForceCommand echo This account is off; exit 1") as server,
        pytest.raises(BenchError, match=r"exit code 1\n.*This account is off"),
    ):
        flash_it(SshConnection(server.endpoint), card, image)
    assert card.read_bytes() == old


def _refused(connection: SshConnection, device: Path | str, image: Path, why: str) -> None:
    with pytest.raises(BenchError, match=why) as caught:
        flash_it(connection, device, image)
    assert caught.value.exit_code == ExitCode.BENCH
    assert "throwaway" in caught.value.message and str(device) in caught.value.message
    assert "nothing was changed" in (caught.value.hint or "")


def test_what_is_no_card_is_refused(connection: SshConnection, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    old = card.read_bytes()
    (tmp_path / "link").symlink_to(card)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    _refused(connection, tmp_path / "absent", image, "does not exist: no card, or the board has it")
    _refused(connection, tmp_path / "link", image, "neither a block device nor a plain file")
    _refused(connection, tmp_path / "folder", image, "neither a block device nor a plain file")
    _refused(connection, tmp_path / "empty", image, "no card in the reader")
    _refused(connection, "/dev/null", image, "neither a block device nor a plain file")
    _refused(connection, "card", image, "no plain absolute path")
    _refused(connection, f"{tmp_path}/folder/../card", image, "no plain absolute path")
    assert card.read_bytes() == old


def test_too_small(connection: SshConnection, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    card = make_card(tmp_path / "card", size=15 * MIB)
    old = card.read_bytes()
    _refused(connection, card, image, "too small: 15728640 bytes, the image has 16777216")
    assert card.read_bytes() == old


@pytest.mark.parametrize("lock", [fcntl.flock, fcntl.lockf])
def test_a_card_in_use(connection: SshConnection, tmp_path: Path, lock: object) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with card.open("r+b") as file:
        assert callable(lock)
        lock(file, fcntl.LOCK_EX)  # as another flash does, and as QEMU does
        _refused(connection, card, image, "in use")
    flash_it(connection, card, image)


def test_an_image_that_changes_meanwhile(connection: SshConnection, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    blocks = image_blocks(image)
    with image.open("r+b") as file:
        file.seek(blocks.mapped[20] * BLOCK_BYTES)
        file.write(b"new")
    with pytest.raises(UserError, match="changed while it was being flashed"):
        flash(
            connection, str(card), image, blocks, reporter=SilentReporter(), cancelled=lambda: False
        )
    assert not boots(card)


def test_a_copy_of_an_unfinished_card_is_no_image(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"FARM UNFINISHED x\n".ljust(512, b"\0"))
    with pytest.raises(UserError, match="not written to its end"):
        image_blocks(image)


def test_the_wrong_host(connection: SshConnection, sshd: Sshd, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    old = card.read_bytes()
    make_key(tmp_path / "other")
    refused = replace(sshd.endpoint, identity=tmp_path / "other")
    with pytest.raises(BenchError, match="refused key"):
        flash_it(SshConnection(refused), card, image)
    sshd.trust(tmp_path / "known", key=tmp_path / "other")
    with pytest.raises(BenchError, match="host key changed"):
        flash_it(SshConnection(replace(sshd.endpoint, known_hosts=tmp_path / "known")), card, image)
    with pytest.raises(BenchError, match="host key unknown"):
        flash_it(SshConnection(replace(sshd.endpoint, known_hosts=tmp_path / "none")), card, image)
    assert card.read_bytes() == old
