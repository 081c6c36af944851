# SPDX-License-Identifier: Apache-2.0
"""Copying parts of files, also from one file system to another."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from farm.core.copying import copy_range, data_extents

_MIB = 1 << 20


def _sparse(path: Path) -> bytes:
    with path.open("wb") as file:
        os.truncate(file.fileno(), 8 * _MIB)
        os.pwrite(file.fileno(), b"one" * 5000, 0)
        os.pwrite(file.fileno(), os.urandom(_MIB + 17), 5 * _MIB)
    return path.read_bytes()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        for at, length in data_extents(old.fileno(), size):
            assert copy_range(old.fileno(), new.fileno(), at, at, length) == length
        os.truncate(new.fileno(), size)


def test_holes_stay_holes(tmp_path: Path) -> None:
    data = _sparse(tmp_path / "a")
    _copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    assert (tmp_path / "b").stat().st_blocks * 512 < 3 * _MIB


def test_from_another_file_system(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        data = _sparse(Path(folder) / "a")
        _copy(Path(folder) / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_a_source_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with (tmp_path / "a").open("rb") as old, (tmp_path / "b").open("wb") as new:
        assert copy_range(old.fileno(), new.fileno(), 2, 0, 100) == 3
    assert (tmp_path / "b").read_bytes() == b"345"
