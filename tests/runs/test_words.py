# SPDX-License-Identifier: Apache-2.0
"""A run in words."""

from __future__ import annotations

from farm.runs.words import describe
from tests.runs.test_results import failed, infrastructure, passed, result_of


def test_pass() -> None:
    text = describe(result_of(passed()))
    assert text.startswith("PASS: origin on rpi4 (target rpi4-1)")
    assert "service hello" in text and "report.html" in text and "cause" not in text


def test_failure_tells_cause_next_step_and_command() -> None:
    text = describe(result_of(failed()))
    assert text.startswith("ONBOOT FAILED") and "the image failed" in text
    assert "<script>alert(1)</script> red]]>\\x07" in text
    assert "next step:" in text and "again: farm flash --board rpi4 'my assembly.yml'" in text
    assert "\x1b" not in text


def test_trouble_of_the_bench_is_not_held_against_the_image() -> None:
    assert "not held against the image" in describe(result_of(infrastructure()))
