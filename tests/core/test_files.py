# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from farm.core.errors import BuildError
from farm.core.files import locked, replacing, sha256_file, write_bytes, write_text
from farm.core.run import run


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_text(path, "old")
    write_bytes(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_an_error_on_the_way_leaves_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.root
def test_a_full_disk_leaves_the_old_bytes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk])
    try:
        path = disk / "file"
        write_text(path, "old")
        with pytest.raises(BuildError, match="No space left"):
            write_bytes(path, b"x" * 1_000_000)
        assert path.read_text() == "old"
        assert [one.name for one in disk.iterdir()] == ["file"]
    finally:
        run(["umount", disk])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BuildError, match="cannot be written"):
        write_text(tmp_path / "file" / "below", "x")


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path).startswith("ba7816bf8f01cfea414140de5dae2223")


def _try_lock(path: Path, answer: multiprocessing.Queue[bool]) -> None:
    with locked(path, blocking=False) as held:
        answer.put(held)


def test_a_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "lock"

    def other_gets_it() -> bool:
        answer: multiprocessing.Queue[bool] = context.Queue()
        process = context.Process(target=_try_lock, args=(path, answer))
        process.start()
        held = answer.get(timeout=60)
        process.join()
        return held

    with locked(path) as held:
        assert held
        assert not other_gets_it()
    assert other_gets_it()
