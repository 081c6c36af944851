# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import pytest

from farm.core.errors import BenchError, BuildError, ExitCode, MissingProgramError
from farm.core.run import PIPE, find_program, paste, run, spawn


def test_what_a_program_prints_is_returned() -> None:
    done = run(["printf", "%s", "a b"])
    assert (done.returncode, done.stdout) == (0, b"a b")


def test_no_shell_sees_the_arguments(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    run(["echo", f"; touch {mark}"])
    assert not mark.exists()


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SECRET", "x")
    shown = run(["env"], env={"EXTRA": "1"}).stdout.decode().splitlines()
    assert {"LC_ALL=C.UTF-8", "TZ=UTC", "EXTRA=1"} <= set(shown)
    assert not [line for line in shown if line.startswith(("LANG=", "SECRET="))]


def test_a_failure_shows_the_output_and_the_command_to_paste() -> None:
    with pytest.raises(BenchError) as caught:
        run(["sh", "-c", "echo no such card >&2; exit 3"], error=BenchError, what="reading rpi4-1")
    assert "reading rpi4-1: exit code 3" in caught.value.message
    assert "no such card" in caught.value.message
    assert "sh -c 'echo no such card >&2; exit 3'" in (caught.value.hint or "")
    assert caught.value.exit_code == ExitCode.BENCH


def test_a_failure_can_be_the_callers_to_judge() -> None:
    assert run(["false"], check=False).returncode == 1


def test_no_end_in_time() -> None:
    with pytest.raises(BuildError, match=r"no end after 0\.2 s"):
        run(["sleep", "60"], timeout_s=0.2)


def test_a_missing_program_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("farm.core.run._SBIN", ())
    with pytest.raises(MissingProgramError) as caught:
        find_program("ser2net")
    assert "ser2net: not installed" in caught.value.message
    assert caught.value.hint == "sudo apt-get install ser2net"
    assert caught.value.exit_code == ExitCode.USAGE


def test_what_dies_with_its_parent(tmp_path: Path) -> None:
    """A grandchild ends when the process that spawned it is killed outright."""
    script = (
        "from farm.core.run import PIPE, spawn\n"
        "words = ['sh', '-c', 'echo $$; exec sleep 600']\n"
        "child = spawn(words, die_with_parent=True, stdout=PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
        "input()\n"
    )
    parent = spawn([sys.executable, "-c", script], stdin=PIPE, stdout=PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    handle = os.pidfd_open(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    ended, _, _ = select.select([handle], [], [], 20)
    os.close(handle)
    assert parent.stdin is not None
    parent.stdin.close()
    parent.stdout.close()
    assert ended


def test_paste_quotes() -> None:
    assert paste(["a", "b c", Path("/d e")]) == "a 'b c' '/d e'"
