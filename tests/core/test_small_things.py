# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.deadline import Deadline
from farm.core.errors import UserError
from farm.core.places import cache_dir, socket_dir, state_dir
from farm.core.progress import LineReporter


@pytest.mark.parametrize(
    ("name", "arch"),
    [("aarch64", Arch.ARM64), ("amd64", Arch.X86_64), ("armv7", Arch.ARM), ("ARM64", Arch.ARM64)],
)
def test_an_architecture_in_anybodys_spelling(name: str, arch: Arch) -> None:
    assert Arch.parse(name) is arch


@pytest.mark.parametrize("arch", list(Arch))
def test_an_architecture_knows_its_other_names(arch: Arch) -> None:
    assert Arch.parse(arch.to_debian()) is arch
    assert arch.to_gnu().startswith(arch.to_qemu()[:3])
    assert Arch.parse(arch.to_oci()[0]) is arch


def test_an_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(UserError, match="unknown architecture 'mips'") as caught:
        Arch.parse("mips")
    assert "aarch64" in (caught.value.hint or "")


def test_a_deadline_runs_on_its_clock() -> None:
    now = [100.0]
    deadline = Deadline.after(5, lambda: now[0])
    assert (deadline.left_s, deadline.expired) == (5.0, False)
    now[0] = 106
    assert (deadline.left_s, deadline.expired) == (0.0, True)


def test_places_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FARM_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_dir() == tmp_path / "xdg" / "farm"
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_sockets_lie_in_a_short_private_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, other = socket_dir(tmp_path / "a"), socket_dir(tmp_path / "b")
    assert one != other
    assert one == socket_dir(tmp_path / "a")
    assert one.stat().st_mode & 0o077 == 0
    one.parent.chmod(0o755)
    with pytest.raises(UserError, match="not a private folder"):
        socket_dir(tmp_path / "a")


def test_a_log_gets_plain_lines() -> None:
    log = io.StringIO()
    reporter = LineReporter(log, every_s=0)
    with reporter.task("writing") as task:
        task.update(50, 100, "1 MB/s")
    reporter.note("done")
    first, second, third = log.getvalue().splitlines()
    assert first == "writing: 50 % 1 MB/s"
    assert second.startswith("writing: ") and second.endswith(" s")
    assert third == "done"
