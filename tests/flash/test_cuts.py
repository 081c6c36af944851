# SPDX-License-Identifier: Apache-2.0
"""A flash that is cut, killed or stopped: the card does not boot, and the next one repairs it."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import pytest

from farm.core.errors import BenchError, ExitCode
from farm.core.run import DEVNULL, spawn
from farm.core.ssh import SshConnection
from farm.flash.blocks import image_blocks
from farm.flash.client import FlashCancelledError
from tests.flash.cards import Watcher, boots, differing, flash_it, make_card, make_image
from tests.relay import relay
from tests.sshd import Sshd

# Of about 2.1 MB that go upwards: while logging in, within the helper, its table, its data.
CUTS = (1000, 5000, 14_000, 20_000, 24_000, 150_000, 700_000, 1_300_000, 1_900_000)


def _helpers(sshd: Sshd) -> list[int]:
    found = []
    for pid in sshd.descendants():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if command[0].endswith(b"python3"):
            found.append(pid)
    return found


def _repair(connection: SshConnection, card: Path, image: Path) -> None:
    """The next flash: says what it found, sends what is missing and no more."""
    blocks = image_blocks(image)
    missing = differing(card, image, blocks)
    marked = card.read_bytes()[:16] == b"FARM UNFINISHED "
    watcher = Watcher()
    report = flash_it(connection, card, image, reporter=watcher)
    assert report.repaired == marked
    assert any("unfinished flash" in note for note in watcher.notes) == marked
    assert report.written_blocks == missing
    assert report.verified_blocks == len(blocks.mapped)
    assert differing(card, image, blocks) == 0
    assert boots(card)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_cut_after_so_many_bytes(sshd: Sshd, tmp_path: Path, how: str) -> None:
    image = make_image(tmp_path / "image")
    old = make_image(tmp_path / "old", seed=2)
    blocks = image_blocks(image)
    unfinished = 0
    for after in CUTS:
        card = make_card(tmp_path / "card", like=old)
        before = card.read_bytes()
        with relay(sshd.port, after=after, how="reset" if how == "reset" else "close") as between:
            with pytest.raises(BenchError) as caught:
                flash_it(SshConnection(sshd.through(between.port)), card, image)
            assert between.cut.is_set()
        assert "throwaway" in caught.value.message and "cut" in caught.value.message
        for pid in _helpers(sshd):
            _wait_for_end(pid)
        if card.read_bytes() == before:
            assert after < 100_000  # before anything was asked for: still the old image
        else:
            assert not boots(card)
            assert "flash it again" in (caught.value.hint or "")
            assert differing(card, image, blocks) > 0
            unfinished += 1
            _repair(SshConnection(sshd.endpoint), card, image)
    assert unfinished >= 4


def test_silence_ends_the_client(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays open and nothing comes through: no hang."""
    monkeypatch.setattr("farm.flash.client._SILENT_S", 1.0)
    monkeypatch.setattr("farm.flash.client._LEAVE_S", 0.2)
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with (
        relay(sshd.port, after=700_000, how="silent") as between,
        pytest.raises(BenchError, match="nothing came from the bench host") as caught,
    ):
        flash_it(SshConnection(sshd.through(between.port)), card, image)
    assert "does not boot" in caught.value.message
    assert not boots(card)


def test_the_helper_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with relay(sshd.port) as between:
        killed: list[int] = []

        def kill_it() -> bool:
            if between.sent > 700_000 and not killed:
                killed.extend(_helpers(sshd))
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            return False

        with pytest.raises(BenchError, match="does not boot"):
            flash_it(SshConnection(sshd.through(between.port)), card, image, cancelled=kill_it)
        assert killed
    assert not boots(card)
    _repair(SshConnection(sshd.endpoint), card, image)


def test_stopped_by_its_user(sshd: Sshd, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with relay(sshd.port) as between:
        with pytest.raises(FlashCancelledError, match="does not boot") as caught:
            flash_it(
                SshConnection(sshd.through(between.port)),
                card,
                image,
                cancelled=lambda: between.sent > 700_000,
            )
        assert caught.value.exit_code == ExitCode.INTERRUPTED
        assert not _helpers(sshd)
    assert not boots(card)
    _repair(SshConnection(sshd.endpoint), card, image)


def test_stopped_before_it_began(connection: SshConnection, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    old = card.read_bytes()
    with pytest.raises(FlashCancelledError, match="unchanged"):
        flash_it(connection, card, image, cancelled=lambda: True)
    assert card.read_bytes() == old


def test_an_exception_of_the_callers(sshd: Sshd, tmp_path: Path) -> None:
    """Ctrl-C comes as an exception out of whatever runs: nothing is left behind."""
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")

    def interrupt() -> bool:
        if _helpers(sshd):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        flash_it(SshConnection(sshd.endpoint), card, image, cancelled=interrupt)
    assert not _helpers(sshd)


_CLIENT = """
import sys
from pathlib import Path
from farm.core.ssh import SshConnection, SshEndpoint
from tests.flash.cards import flash_it
port, user, identity, known, card, image = sys.argv[1:]
endpoint = SshEndpoint("x", "127.0.0.1", int(port), user, Path(identity), Path(known))
flash_it(SshConnection(endpoint), card, Path(image))
"""


def test_the_client_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    image, card = make_image(tmp_path / "image"), make_card(tmp_path / "card")
    with relay(sshd.port, after=700_000, how="hold") as between:
        endpoint = sshd.through(between.port)
        words = [str(endpoint.port), endpoint.user or "", str(endpoint.identity)]
        client = spawn(
            [sys.executable, "-c", _CLIENT, *words, str(endpoint.known_hosts), card, image],
            stdin=DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        assert between.cut.wait(30)
        helpers = _helpers(sshd)
        assert helpers
        client.kill()
        client.wait()
        between.go.set()
        for pid in helpers:
            _wait_for_end(pid)
    assert not boots(card)
    _repair(SshConnection(sshd.endpoint), card, image)


def _wait_for_end(pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([process], [], [], 30)
        assert ready, "the helper lives on"
    finally:
        os.close(process)
