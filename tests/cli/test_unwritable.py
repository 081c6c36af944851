# SPDX-License-Identifier: Apache-2.0
"""Places where farm may not write, and sessions of another user's: words, no traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from farm.core.errors import ExitCode, UserError
from farm.core.files import locked
from farm.core.places import cache_dir, socket_dir, state_dir
from farm.core.run import Completed, run

FARM = (sys.executable, "-P", "-c", "from farm.cli import main; main()")
BENCH = """\
format: 1
name: b
hosts:
  h1: {kind: loopback}
targets:
  t1: {board: qemu-arm64, host: h1, virtual: true}
"""


def _farm(folder: Path, *words: str, env: dict[str, str]) -> Completed:
    (folder / "bench.yml").write_text(BENCH)
    return run([*FARM, *words], cwd=folder, env=env, check=False, timeout_s=60)


@pytest.mark.parametrize("place", ["/proc/farm", "/etc/hostname/x", "/sys/farm"])
def test_a_state_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    done = _farm(tmp_path, "bench", "up", env={"FARM_STATE": place})
    said = done.stderr.decode()
    assert done.returncode == ExitCode.USAGE, said
    assert place in said
    assert "FARM_STATE" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("variable", "place"), [("FARM_STATE", state_dir), ("FARM_CACHE", cache_dir)]
)
def test_a_place_below_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, place: object
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file/farm"))
    assert callable(place)
    with pytest.raises(UserError, match="farm cannot write there") as refused:
        place()
    assert refused.value.hint == f"{variable}=FOLDER names another place"


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="file/lock: cannot be made"),
        locked(tmp_path / "file/lock"),
    ):
        pass


def test_a_runtime_folder_that_is_anothers_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `su` leaves it in the environment."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir(mode=0o700)
    mine.mkdir(mode=0o700)
    getuid, lstat = os.getuid(), Path.lstat

    def of_another(path: Path) -> os.stat_result:
        found = list(lstat(path))
        if path == theirs:
            found[4] = getuid + 1
        return os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", of_another)
    for given in (theirs, tmp_path / "absent", Path("relative")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(given))
        assert socket_dir(tmp_path / "a").parent == tmp_path / "temporary" / f"farm-{getuid}"
    assert not list(theirs.iterdir())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(mine))
    assert socket_dir(tmp_path / "a").parent == mine / "farm"


def test_no_place_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(UserError, match="no folder for sockets"):
        socket_dir(tmp_path / "a")
