# SPDX-License-Identifier: Apache-2.0
"""Scratch of processes that were killed."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from farm.core.run import run
from farm.core.scratch import remove_left_scratch, scratch_prefix

_KILLED = """
import os, signal, sys, tempfile
from farm.core.scratch import scratch_prefix
folder = tempfile.mkdtemp(prefix=scratch_prefix("kernel-"), dir=sys.argv[1])
open(os.path.join(folder, "big"), "w").close()
tempfile.mkstemp(prefix=scratch_prefix("kernel-"), dir=sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", _KILLED, tmp_path], check=False).returncode
    assert len(list(tmp_path.iterdir())) == 2
    mine = Path(tempfile.mkdtemp(prefix=scratch_prefix("kernel-"), dir=tmp_path))
    other = tmp_path / f"kernel-elsewhere-{2**22 + 1}-abc"
    named = tmp_path / "kernel-6.12"
    for path in (other, named):
        path.mkdir()
    remove_left_scratch(tmp_path, "kernel-")
    assert set(tmp_path.iterdir()) == {mine, other, named}
    remove_left_scratch(tmp_path / "absent", "kernel-")


def test_the_name_tells_the_process() -> None:
    assert scratch_prefix(".new.").endswith(f"-{os.getpid()}-")
