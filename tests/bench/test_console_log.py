# SPDX-License-Identifier: Apache-2.0
"""The console's log: each line with its time, bounded, and nothing of the bytes lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.bench.console_log import ConsoleLog, escape, unescape
from farm.core.errors import BenchError


class Times:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make(path: Path, times: Times, *, file_bytes: int = 8 << 20) -> ConsoleLog:
    return ConsoleLog(
        path, clock=times, wall=lambda: 1_735_689_600.25 + times.now, file_bytes=file_bytes
    )


def test_a_line_has_the_time_of_its_first_byte(tmp_path: Path) -> None:
    times = Times()
    log = make(tmp_path / "a.log", times)
    log.feed(b"one\r")
    times.now = 1.5
    log.feed(b"\ntw")
    times.now = 2.5
    log.feed(b"o\nlogin: ")
    log.settle()
    times.now = 5
    log.settle()
    log.feed(b"root\n")
    log.mark("power: off")
    log.close()
    assert (tmp_path / "a.log").read_text() == (
        "2025-01-01T00:00:00.250000Z 0.000000 | one\n"
        "2025-01-01T00:00:01.750000Z 1.500000 | two\n"
        "2025-01-01T00:00:02.750000Z 2.500000 | login: \n"
        "2025-01-01T00:00:05.250000Z 5.000000 + root\n"
        "2025-01-01T00:00:05.250000Z 5.000000 = power: off\n"
    )


def test_a_line_without_an_end_and_a_log_without_an_end_are_bounded(tmp_path: Path) -> None:
    log = make(tmp_path / "a.log", Times(), file_bytes=20_000)
    for _ in range(40):
        log.feed(b"\x1b" * 5000)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert all(file.stat().st_size <= 20_000 for file in files)


@given(st.binary(max_size=300))
def test_text_can_be_shown_and_bytes_had_back(data: bytes) -> None:
    text = escape(data)
    assert unescape(text) == data
    assert all(c == "\t" or c.isprintable() for c in text)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="console log"):
        ConsoleLog(tmp_path / "file" / "a.log")
