# SPDX-License-Identifier: Apache-2.0
"""What is noticed on a console that tests use, after the verdict."""

from __future__ import annotations

import pytest

from farm.smoke.vigil import MAX_PROBLEMS, Vigil
from tests.smoke.scripted import FIRMWARE, Scripted, timeline_line

PANIC = "[   60.000000] Kernel panic - not syncing: now"


@pytest.fixture
def boot() -> Scripted:
    passed = Scripted().whole().say("[   12.000000] random: crng init done").wait(5)
    assert passed.verdict.passed
    return passed


def problems(boot: Scripted, *lines: str) -> list[str]:
    vigil = Vigil(boot.watch)
    for line in lines:
        vigil.feed(line.encode() + b"\n", 20.0, 0.0)
    return vigil.problems


def test_a_log_that_a_test_shows_is_no_event(boot: Scripted) -> None:
    log = (
        "# dmesg",
        "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]",
        "[    0.000000] Linux version 6.12.94+deb13-arm64 (debian-kernel@lists.debian.org)",
        "[    3.000000] Internal error: Oops: an old one",
        f"[    0.700000] {timeline_line(1, 'start', kernel='6', init='1', build='')}",
        f"[    9.000000] {timeline_line(4, 'service-exit', name='hello', rc='1')}",
    )
    assert problems(boot, *log) == []


def test_what_happens_now(boot: Scripted) -> None:
    (panic,) = problems(boot, PANIC)
    assert panic.startswith("the kernel panicked")
    line = f"[   61.000000] {timeline_line(boot.seq, 'service-exit', name='hello', rc='1')}"
    (ended,) = problems(boot, line, line)
    assert ended.startswith("a service ended")


def test_a_reset(boot: Scripted) -> None:
    kernel = "[    0.000000] Linux version 6.12.94+deb13-arm64 (debian-kernel@lists.debian.org)"
    found = problems(boot, *FIRMWARE, kernel, "[    2.000000] Kernel panic - not syncing: new")
    assert [one.partition(":")[0] for one in found] == [
        "the firmware began anew",
        "the kernel began anew",
        "the kernel panicked",
    ]
    begin = timeline_line(1, "start", boot="feedbeef", kernel="6", init="1", build="")
    (again,) = problems(boot, f"[    0.700000] {begin}")
    assert again.startswith("the system booted again")


def test_firmwares_lines_in_a_file_that_a_test_shows(boot: Scripted) -> None:
    assert problems(boot, *FIRMWARE[:2], "# ", *FIRMWARE[:2], "# ") == []


def test_a_flood_of_problems_is_bounded(boot: Scripted) -> None:
    assert len(problems(boot, *[PANIC] * 1000)) == MAX_PROBLEMS
