# SPDX-License-Identifier: Apache-2.0
"""Which timelines are believed: damaged, forged, stale ones, and those of another system."""

from __future__ import annotations

import zlib

import pytest

from farm.smoke.verdict import Expectation, Outcome, Stage, Verdict
from tests.smoke.scripted import BUILD, LIMITS, RELEASE, Scripted, timeline_line, told


def test_a_lost_line_may_have_said_anything() -> None:
    verdict = Scripted().firmware().kernel().init().lose(1).onboot().services().wait(5).verdict
    assert told(verdict).outcome is Outcome.INFRASTRUCTURE
    assert "lines 3 to 3 never arrived" in verdict.summary


def test_a_line_that_is_lost_after_the_complete_boot() -> None:
    boot = Scripted().firmware().kernel().init().onboot().up()
    boot.say(f"[    9.000000] {timeline_line(boot.seq, 'service-exit', name='x', rc='1')}"[:-1])
    verdict = told(boot.lose().settled().wait(5).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "never arrived" in verdict.summary

    boot = Scripted().whole().say("[    9.0000000] farm/1 0badc0de 9 9.00 service-ex~t #12345678")
    verdict = told(boot.wait(5).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "damaged" in verdict.summary


def test_two_lines_with_one_number() -> None:
    boot = Scripted().firmware().kernel().init().onboot()
    boot.event("service-begin", name="hello")
    forged = timeline_line(boot.seq, "service-up", name="hello", s="0.1", by="running")
    boot.say(f"[    2.000000] {forged}").event(
        "service-failed", name="hello", rc="1", reason="exit"
    )
    verdict = told(boot.event("complete", s="1").settled().wait(5).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "differ" in verdict.summary


def test_a_replayed_timeline_says_nothing_new() -> None:
    boot = Scripted().firmware().kernel()
    begin = timeline_line(1, "start", time_s=boot.clock_s, kernel="6", init="1", build="")
    boot.seq = 2
    boot.say(f"[    0.700000] {begin}", f"[    0.700000] {begin}")
    assert boot.onboot().services().wait(5).verdict.passed


def test_a_second_boot_whose_first_line_is_damaged() -> None:
    boot = Scripted().whole()
    for seq in (2, 3):
        line = timeline_line(seq, "network", boot="feedbeef", interface="", address="")
        boot.say(f"[    0.800000] {line}")
    assert told(boot.wait(5).verdict).outcome is Outcome.BOOT_LOOP

    boot = Scripted().whole()
    line = timeline_line(2, "modules", boot="feedbeef", count="3", failed="0")
    verdict = told(boot.say(f"[    0.800000] {line}").wait(5).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "feedbeef" in verdict.summary


def test_lines_that_an_earlier_boot_left_are_not_this_ones() -> None:
    boot = Scripted()
    boot.say(timeline_line(12, "complete", boot="feedbeef", s="1.0"))
    boot.say(timeline_line(13, "settled", boot="feedbeef", s="4.0", up="1"))
    assert not boot.watch.complete and boot.watch.stage is Stage.POWER
    assert boot.whole().wait(5).verdict.passed
    assert boot.verdict.console.foreign_lines == 2


def test_a_boot_whose_first_line_was_lost_proves_nothing() -> None:
    boot = Scripted().firmware().kernel().lose().event("modules", count="3", failed="0")
    verdict = told(boot.onboot().services().wait(LIMITS.kernel_s + 1).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "not the first" in verdict.summary


def test_a_timeline_alone_passes_only_by_its_build_id() -> None:
    def boot(build_id: str) -> Verdict:
        expected = Expectation(
            "raspberrypi", ("dhcp",), ("hello",), build_id=build_id, limits=LIMITS
        )
        return Scripted(expected).init().onboot().services().wait(5).verdict

    assert boot(BUILD).passed
    verdict = told(boot(""))
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "neither" in verdict.summary


@pytest.mark.parametrize(
    ("build_id", "release", "said"),
    [("feedfeedfeedfeed", RELEASE, "build id"), (BUILD, "6.13.0", "kernel")],
)
def test_another_build_than_the_one_under_test(build_id: str, release: str, said: str) -> None:
    expected = Expectation(
        *("raspberrypi", ("dhcp",), ("hello",)),
        build_id=build_id,
        kernel_release=release,
        limits=LIMITS,
    )
    boot = Scripted(expected).firmware().kernel().init()
    boot.say("[    5.000000] Kernel panic - not syncing: of that other system").wait(2)
    verdict = told(boot.verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and said in verdict.summary


def test_a_timeline_of_a_later_format() -> None:
    body = "farm/2 0badc0de 1 1.00 begin"
    line = f"[    1.000000] {body} #{zlib.crc32(body.encode()):08x}"
    verdict = told(Scripted().firmware().kernel().say(line).wait(2).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "version 2" in verdict.summary
    assert verdict.console.corrupt_lines == 0


def test_another_system_than_expected_does_not_pass() -> None:
    boot = Scripted().firmware().kernel().init().event("complete", s="1.0")
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.ONBOOT_FAILED and "never began" in verdict.summary


def test_lines_without_the_kernels_stamp_are_not_believed_where_others_had_it() -> None:
    boot = Scripted().firmware().kernel().init()
    boot.say(timeline_line(90, "complete", boot="feedbeef", s="1.0"))
    boot.say(timeline_line(1, "complete", s="1.0"))
    boot.say("[    1.000000] hello: " + timeline_line(3, "complete", s="1.0"))
    boot.say("farm/1 0badc0de 3 1.00 complete s=1.0 #00000000")
    assert not boot.watch.complete
    verdict = boot.onboot().services().wait(5).verdict
    assert verdict.passed
    assert verdict.console.foreign_lines == 3 and verdict.console.corrupt_lines == 1
