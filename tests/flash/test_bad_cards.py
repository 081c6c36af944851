# SPDX-License-Identifier: Apache-2.0
"""Cards that lie, fail, stick, vanish, or lose power at any moment."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from farm.core.errors import BenchError
from farm.core.ssh import SshConnection
from farm.flash import wire
from farm.flash.blocks import ImageBlocks, image_blocks
from farm.flash.sending import helper_source
from tests.flash.cards import boots, differing, flash_it, make_card, make_image, mapped
from tests.flash.faulty import FaultyHost, read_log
from tests.relay import relay
from tests.sshd import Sshd

Entry = tuple[int, bytes] | None


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image", blocks=40, size=4 << 20)


@pytest.fixture
def card(tmp_path: Path, image: Path) -> Path:
    """A card that boots another image."""
    old = make_image(tmp_path / "old", seed=2, blocks=30, size=4 << 20)
    return make_card(tmp_path / "card", size=5 << 20, like=old)


def _offset(image: Path, number: int) -> int:
    return image_blocks(image).mapped[number] * wire.BLOCK_BYTES + 1000


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("write-error", "write at byte"),
        ("full", "the card ends there"),
        ("forget", "verify at byte"),
        ("flip", "verify at byte"),
        ("stuck", "no answer from the card"),
    ],
)
def test_a_block_goes_wrong(image: Path, card: Path, mode: str, says: str) -> None:
    at = _offset(image, 20)
    with pytest.raises(BenchError, match="the card failed") as caught:
        flash_it(FaultyHost(mode, at), card, image)  # type: ignore[arg-type]
    assert says in caught.value.message
    assert "does not boot" in caught.value.message
    assert "another card" in (caught.value.hint or "")
    if mode in ("forget", "flip"):
        assert f"byte {at // wire.BLOCK_BYTES * wire.BLOCK_BYTES} " in caught.value.message
    assert not boots(card)
    flash_it(FaultyHost(""), card, image)  # type: ignore[arg-type]
    assert differing(card, image, image_blocks(image)) == 0


def test_a_card_that_cannot_be_read(image: Path, card: Path) -> None:
    with pytest.raises(BenchError, match="read at byte 0: Input/output error"):
        flash_it(FaultyHost("read-error", _offset(image, 0)), card, image)  # type: ignore[arg-type]
    assert boots(card)


def test_a_card_that_forgets_the_first_sector(image: Path, card: Path) -> None:
    old = card.read_bytes()
    with pytest.raises(BenchError, match="keeps the old bytes"):
        flash_it(FaultyHost("forget", 0), card, image)  # type: ignore[arg-type]
    assert card.read_bytes() == old


def test_errors_that_come_only_with_the_flush(image: Path, card: Path) -> None:
    with pytest.raises(BenchError, match="flush: Input/output error"):
        flash_it(FaultyHost("flush-error"), card, image)  # type: ignore[arg-type]
    assert not boots(card)


def test_short_writes_go_on(image: Path, card: Path) -> None:
    flash_it(FaultyHost("short", _offset(image, 10)), card, image)  # type: ignore[arg-type]
    assert differing(card, image, image_blocks(image)) == 0


def test_a_card_that_is_taken_away(sshd: Sshd, tmp_path: Path) -> None:
    """As the virtual mux takes it: the path is gone, the open file is not."""
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with relay(sshd.port) as between:

        def take() -> bool:
            if between.sent > 100_000 and card.exists():
                card.rename(tmp_path / "taken")
            return False

        with pytest.raises(BenchError, match="went away during the flash"):
            flash_it(SshConnection(sshd.through(between.port)), card, image, cancelled=take)
    assert not boots(tmp_path / "taken")


def test_a_silent_client_is_left(image: Path, card: Path) -> None:
    """The dead-man's switch: nothing more comes, the input stays open."""
    host = FaultyHost("silence", 0.5)
    blocks = image_blocks(image)
    process = host.data(())
    assert process.stdin and process.stdout and process.stderr
    header = {"version": 1, "device": str(card), "image": "x", "block_bytes": wire.BLOCK_BYTES}
    frame = wire.encode(
        wire.HEADER, json.dumps({**header, "size_bytes": blocks.size_bytes}).encode()
    )
    process.stdin.write(helper_source() + frame)
    process.stdin.writelines(wire.encode_table(blocks.mapped, blocks.digests))
    process.stdin.flush()
    said = process.stdout.read()  # until it is gone
    assert process.wait(30) == 1
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    assert said.startswith(wire.MAGIC)
    assert not boots(card)


def _first_violation(log: list[Entry], old: bytes, image: Path, blocks: ImageBlocks) -> str | None:
    """Lose power at every point of a log of writes, in many ways; return what is wrong.

    What was flushed is on the card. Of what was written after the last flush, any subset of
    the sectors may be.
    """
    rng = random.Random(7)
    new = mapped(image, blocks)
    first_old, first_new = old[:512], new[0][:512]
    flushed = bytearray(old)
    open_writes: list[tuple[int, bytes]] = []
    for number, entry in enumerate([*log, None]):
        for _ in range(12):
            state = bytearray(flushed)
            share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
            for offset, data in open_writes:
                for at in range(0, len(data), 512):
                    if rng.random() < share:
                        state[offset + at : offset + at + 512] = data[at : at + 512]
            first = bytes(state[:512])
            if first == first_old:
                if first[510:] == b"\x55\xaa" and state != old:
                    return f"entry {number}: boots the old image, which is not whole"
            elif first == first_new:
                for index, block in zip(blocks.mapped, new, strict=True):
                    if state[index * wire.BLOCK_BYTES :][: len(block)] != block:
                        return f"entry {number}: boots the new image, which is not whole"
            elif first[510:] == b"\x55\xaa":
                return f"entry {number}: boots something else"
        if entry is None:
            for offset, data in open_writes:
                flushed[offset : offset + len(data)] = data
            open_writes = []
        else:
            open_writes.append(entry)
    return None


def test_power_lost_at_any_moment(image: Path, card: Path, tmp_path: Path) -> None:
    blocks = image_blocks(image)
    old = card.read_bytes()
    flash_it(FaultyHost("log", tmp_path / "log"), card, image)  # type: ignore[arg-type]
    log = read_log(tmp_path / "log")
    assert log.count(None) >= 4 and len(log) > 10
    assert _first_violation(log, old, image, blocks) is None
    # The check itself is proven by leaving out a flush.
    without = [entry for entry in log if entry is not None]
    assert _first_violation(without, old, image, blocks) is not None


def test_power_lost_while_an_unfinished_card_is_repaired(
    image: Path, card: Path, tmp_path: Path
) -> None:
    blocks = image_blocks(image)
    with pytest.raises(BenchError):
        flash_it(FaultyHost("flip", _offset(image, 20)), card, image)  # type: ignore[arg-type]
    old = card.read_bytes()
    report = flash_it(FaultyHost("log", tmp_path / "log"), card, image)  # type: ignore[arg-type]
    assert report.repaired
    assert _first_violation(read_log(tmp_path / "log"), old, image, blocks) is None
