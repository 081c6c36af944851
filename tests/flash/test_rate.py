# SPDX-License-Identifier: Apache-2.0
"""Rate and time left."""

from __future__ import annotations

from farm.flash.rate import Rate


def test_rate_and_time_left() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert rate.note(1) == "starting"
    for second in range(20):
        now[0] = float(second)
        rate.add(second * 2_000_000)
    assert rate.note(60_000_000) == "2.0 MB/s, 30 s left"
    assert rate.note(600_000_000) == "2.0 MB/s, 5 min 0 s left"
    for second in range(20, 30):  # the last seconds count, not the first ones
        now[0] = float(second)
        rate.add(19 * 2_000_000)
    assert rate.note(1) == "waiting"
