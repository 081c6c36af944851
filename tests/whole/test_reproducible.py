# SPDX-License-Identifier: Apache-2.0
"""The same inputs give the same bytes, wherever and by whomever they are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.core.files import sha256_file
from farm.core.run import run

from .command import FARM, Farm

pytestmark = [pytest.mark.network, pytest.mark.long, pytest.mark.xdist_group("whole-rebuilt")]
BOARD = "rpi-arm64"


def _build(folder: Path, umask: str, env: dict[str, str], state: Path) -> Path:
    """Build the reference assembly's card for a family of boards under a umask of its own."""
    folder.mkdir(parents=True)
    run(
        [
            *("sh", "-c", 'umask "$1" && shift && exec "$@"', "sh", umask),
            *(FARM, "build", "--board", BOARD, "origin"),
        ],
        cwd=folder,
        env={**Farm(folder, state).environment(), **env},
    )
    return folder / "out" / f"origin-{BOARD}.img"


def test_nothing_of_the_machine_is_in_the_bytes(tmp_path: Path) -> None:
    """Another folder, cache, umask, time zone, locale and hash seed; nothing shared but the key."""
    one = _build(tmp_path / "a", "022", {"FARM_CACHE": str(tmp_path / "cache-a")}, tmp_path / "s")
    other = _build(
        tmp_path / "another" / "place",
        "077",
        {
            "FARM_CACHE": str(tmp_path / "another" / "cache-b"),
            "TZ": "Asia/Tokyo",
            "LC_ALL": "C",
            "PYTHONHASHSEED": "4711",
            "TMPDIR": str(tmp_path),
        },
        tmp_path / "s",
    )
    assert sha256_file(one) == sha256_file(other)
    for suffix in (".bmap", ".json"):
        assert (
            one.with_name(one.name + suffix).read_bytes()
            == other.with_name(other.name + suffix).read_bytes()
        )


def test_another_epoch_gives_other_bytes(tmp_path: Path) -> None:
    """The time in the image is SOURCE_DATE_EPOCH, where one is given."""
    state = tmp_path / "s"
    plain = _build(tmp_path / "a", "022", {}, state)
    dated = _build(tmp_path / "b", "022", {"SOURCE_DATE_EPOCH": "1700000000"}, state)
    assert sha256_file(plain) != sha256_file(dated)
    assert plain.stat().st_size == dated.stat().st_size
