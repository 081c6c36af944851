# SPDX-License-Identifier: Apache-2.0
"""Each verdict, by a console that says what makes it."""

from __future__ import annotations

import dataclasses

import pytest

from farm.smoke.verdict import Expectation, Fault, Outcome, Stage, Verdict
from tests.smoke.scripted import FIRMWARE, LIMITS, Scripted, timeline_line, told


def test_pass_comes_after_the_settle_time() -> None:
    boot = Scripted().whole()
    assert boot.watch.complete
    boot.wait(LIMITS.settle_s - 1)
    assert boot.watch.verdict is None
    verdict = told(boot.wait(1.5).verdict)
    assert verdict.outcome is Outcome.PASS and verdict.stage is Stage.SETTLED
    assert verdict.title == "pass" and verdict.fault is Fault.NONE
    assert [mark.stage for mark in verdict.marks] == list(Stage)
    assert verdict.timeline[0].name == "start"
    assert verdict.cause_lines == ()


def test_firmware_stops_and_names_the_file() -> None:
    boot = Scripted().say(FIRMWARE[0], "MESS:00:00:05.000000:0: Failed to open 'kernel8.img'")
    boot.say("firmware stopped: kernel8.img is not on the card").wait(2)
    verdict = told(boot.verdict)
    assert verdict.outcome is Outcome.FIRMWARE and verdict.stage is Stage.FIRMWARE
    assert any("kernel8.img" in line for line in verdict.cause_lines)


def test_nothing_at_all_is_not_held_against_the_image() -> None:
    verdict = told(Scripted().wait(LIMITS.firmware_s + 1).verdict)
    assert verdict.outcome is Outcome.NO_OUTPUT and verdict.stage is Stage.POWER
    assert verdict.fault is Fault.BENCH


def test_silence_after_the_hand_over_is_another_thing() -> None:
    boot = Scripted().firmware()
    assert boot.watch.handed_over_s is not None
    boot.wait(LIMITS.kernel_s - 1)
    assert boot.watch.verdict is None
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.NO_OUTPUT and verdict.stage is Stage.FIRMWARE
    assert verdict.fault is Fault.IMAGE and "handed over" in verdict.summary


def test_firmware_that_never_hands_over() -> None:
    verdict = told(Scripted().say(FIRMWARE[0]).wait(LIMITS.firmware_s + 1).verdict)
    assert verdict.outcome is Outcome.FIRMWARE
    assert "config.txt" in verdict.summary


def test_kernel_that_stops_before_init() -> None:
    boot = Scripted().firmware().kernel().say("[    1.500000] mmc0: waiting for the card")
    verdict = told(boot.wait(LIMITS.kernel_s + 1).verdict)
    assert verdict.outcome is Outcome.HANG and verdict.stage is Stage.KERNEL
    assert "mmc0" in verdict.summary


def test_panic() -> None:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    boot.say(
        "[    3.000000] sysrq: Trigger a crash",
        "[    3.000001] Kernel panic - not syncing: sysrq triggered crash",
        "[    3.000002] CPU: 0 UID: 0 PID: 1 Comm: sh Not tainted",
        "[    3.000003] Call trace:",
        "[    3.000004]  panic+0x39c/0x3b8",
        "[    3.000005] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
    )
    verdict = told(boot.verdict)
    assert verdict.outcome is Outcome.PANIC and verdict.stage is Stage.ONBOOT
    assert "sysrq triggered crash" in verdict.summary
    assert any("Call trace" in line for line in verdict.cause_lines)


def test_panic_in_the_settle_time() -> None:
    boot = Scripted().whole().wait(2).say("[    9.000001] Kernel panic - not syncing: late")
    verdict = told(boot.wait(3).verdict)
    assert verdict.outcome is Outcome.PANIC and verdict.stage is Stage.COMPLETE


def test_a_panic_that_restarts_is_a_panic() -> None:
    boot = Scripted().firmware().kernel()
    boot.say("[    9.000001] Kernel panic - not syncing: x").say(*FIRMWARE)
    assert boot.kernel().wait(3).verdict.outcome is Outcome.PANIC


def test_oops_and_the_panic_that_follows_it() -> None:
    oops = (
        "[    3.000000] Unable to handle kernel NULL pointer dereference at virtual address 0",
        "[    3.000001] Internal error: Oops: 0000000096000044 [#1] SMP",
        "[    3.000002] pc : f+0x10/0x20 [bad_module]",
    )
    alone = Scripted().firmware().kernel().say(*oops).init().onboot().services().wait(6)
    verdict = told(alone.verdict)
    assert verdict.outcome is Outcome.OOPS and "NULL pointer" in verdict.summary
    assert any("bad_module" in line for line in verdict.cause_lines)

    both = Scripted().firmware().kernel().say(*oops)
    both.say("[    3.100000] Kernel panic - not syncing: Oops: Fatal exception").wait(3)
    verdict = told(both.verdict)
    assert verdict.outcome is Outcome.PANIC
    assert any("bad_module" in line for line in verdict.cause_lines)


def test_a_stall_on_a_busy_machine_is_a_warning() -> None:
    boot = Scripted().firmware().kernel()
    boot.say("[    3.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:")
    verdict = boot.init().onboot().services().wait(5).verdict
    assert verdict.passed and any("detected stalls" in text for text in verdict.warnings)


def test_onboot_step_failed() -> None:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    boot.say("dhcp: no lease").event("onboot-end", name="dhcp", rc="3", s="1.0")
    boot.event("failed", stage="onboot", name="dhcp", rc="3")
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.ONBOOT_FAILED and verdict.step == "dhcp"
    assert "exit code 3" in verdict.summary
    assert "dhcp: no lease" in verdict.cause_lines


def test_onboot_step_hangs() -> None:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    verdict = told(boot.say("dhcp: discovering").wait(LIMITS.step_s + 1).verdict)
    assert verdict.outcome is Outcome.HANG and verdict.step == "dhcp"
    assert verdict.stage is Stage.ONBOOT and "dhcp: discovering" in verdict.cause_lines


def test_service_that_never_comes_up_hangs() -> None:
    boot = Scripted().firmware().kernel().init().onboot().event("service-begin", name="hello")
    verdict = told(boot.wait(LIMITS.step_s + 1).verdict)
    assert verdict.outcome is Outcome.HANG and verdict.step == "hello"


@pytest.mark.parametrize("reason", ["exit", "health"])
def test_service_failed(reason: str) -> None:
    boot = Scripted().firmware().kernel().init().onboot().event("service-begin", name="hello")
    boot.say("hello: cannot bind").event("service-failed", name="hello", rc="139", reason=reason)
    boot.event("failed", stage="services", name="hello", rc="139")
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.SERVICE_FAILED and verdict.step == "hello"
    assert "hello: cannot bind" in verdict.cause_lines
    assert ("segmentation fault" in verdict.summary) == (reason == "exit")


def test_service_that_dies_in_the_settle_time() -> None:
    boot = Scripted().whole().wait(2).event("service-exit", name="hello", rc="1")
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.SERVICE_FAILED and "complete" in verdict.summary


def test_reboot_by_the_kernel_by_firmware_and_by_boot_id() -> None:
    kernel = Scripted().firmware().kernel().init()
    kernel.say("[    5.000000] reboot: Restarting system").wait(4)
    assert told(kernel.verdict).outcome is Outcome.BOOT_LOOP

    firmware = Scripted().firmware().kernel().init().say("the last words").say(*FIRMWARE).wait(4)
    assert told(firmware.verdict).outcome is Outcome.BOOT_LOOP
    assert "the last words" in firmware.verdict.cause_lines

    boot = Scripted().firmware().kernel().init()
    begin = timeline_line(1, "start", boot="feedbeef", kernel="6", init="1", build="")
    boot.say(f"[    0.700000] {begin}").wait(4)
    assert told(boot.verdict).outcome is Outcome.BOOT_LOOP

    asked = Scripted().firmware().kernel().init().event("shutdown", reason="reboot").wait(4)
    assert told(asked.verdict).outcome is Outcome.BOOT_LOOP


def test_a_replayed_log_is_no_second_boot() -> None:
    boot = Scripted().firmware().kernel().kernel().init().onboot().services().wait(5)
    assert boot.verdict.passed


def test_a_kernel_that_restarts_before_init() -> None:
    boot = (
        Scripted(Expectation("extlinux", limits=LIMITS)).kernel().kernel().wait(LIMITS.kernel_s + 1)
    )
    assert told(boot.verdict).outcome is Outcome.BOOT_LOOP


def test_a_service_that_prints_like_a_firmware_is_no_reboot() -> None:
    expected = Expectation("extlinux", ("dhcp",), ("hello",), limits=LIMITS)
    boot = Scripted(expected).say("U-Boot 2025", "Starting kernel ...").kernel().init().onboot()
    boot.say("append: x", "hello: ok", "Found /etc/passwd", "1:\tone", "2:\ttwo", "3:\tthree")
    assert boot.services().wait(5).verdict.passed


def test_power_off_by_the_guest() -> None:
    boot = Scripted().whole().event("shutdown", reason="poweroff").wait(2)
    assert told(boot.verdict).outcome is Outcome.SHUTDOWN
    boot = Scripted().firmware().kernel().init().say("[    5.000000] reboot: Power down")
    boot.watch.powered_off()
    assert told(boot.wait(2).verdict).outcome is Outcome.SHUTDOWN


def test_power_lost_is_the_bench() -> None:
    boot = Scripted().firmware().kernel()
    boot.watch.powered_off()
    verdict = told(boot.verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and verdict.fault is Fault.BENCH


def test_trouble_does_not_hide_what_the_console_has_shown() -> None:
    boot = Scripted().firmware().kernel().say("[    5.000000] Kernel panic - not syncing: x")
    assert boot.watch.infrastructure("QEMU ended", "look").outcome is Outcome.PANIC


def test_skipped_only_where_the_board_lacks_it() -> None:
    def boot(missing: tuple[str, ...]) -> Scripted:
        expected = Expectation(
            "raspberrypi",
            onboot=("dhcp",),
            services=("hello",),
            ports=(("hello", 80),),
            missing=missing,
            limits=LIMITS,
        )
        script = Scripted(expected).firmware().kernel().init()
        script.event("skipped", kind="onboot", name="dhcp", need="network")
        script.event("skipped", kind="services", name="hello", need="network")
        return script.event("complete", s="1.0").settled("0").wait(5)

    verdict = boot(("network",)).verdict
    assert verdict.passed and verdict.title == "pass (network not exercised)"
    assert [one.name for one in verdict.skipped] == ["dhcp", "hello"]
    verdict = told(boot(()).verdict)
    assert verdict.outcome is Outcome.ONBOOT_FAILED
    assert "no network card appeared" in verdict.summary


def test_ports_are_waited_for() -> None:
    expected = Expectation(
        "raspberrypi", ("dhcp",), ("hello",), ports=(("hello", 80),), limits=LIMITS
    )
    boot = Scripted(expected).whole().wait(LIMITS.settle_s + 1)
    assert boot.watch.verdict is None and boot.watch.ports_to_ask == (("hello", 80),)
    boot.watch.port_answered("hello", 80)
    assert boot.verdict.passed
    boot = Scripted(expected).whole()
    boot.watch.port_closed("hello", 80, "connection refused")
    verdict = told(boot.verdict)
    assert verdict.outcome is Outcome.PORT_CLOSED and verdict.step == "hello"
    assert "80" in verdict.summary and "refused" in verdict.summary


def test_garbled_silence_is_the_bench_and_not_the_image() -> None:
    boot = Scripted()
    for _ in range(40):
        boot.raw(bytes(range(128, 256)) + b"\n")
    verdict = told(boot.wait(LIMITS.firmware_s + 1).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "garbled" in verdict.summary
    assert verdict.console.undecodable_bytes == 40 * 128


def test_a_garbled_console_does_not_hide_a_pass() -> None:
    boot = Scripted().raw(bytes(range(128, 256)) * 20 + b"\n").whole().wait(5)
    assert boot.verdict.passed and any("garbled" in text for text in boot.verdict.warnings)


def test_corrupt_complete_line_is_the_bench() -> None:
    boot = Scripted().firmware().kernel().init().onboot()
    boot.say(timeline_line(boot.seq, "complete", s="1.0")[:-1] + "!")
    verdict = told(boot.wait(LIMITS.step_s + 1).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and verdict.console.corrupt_lines == 1


def test_lost_lines_that_explain_what_is_missing() -> None:
    boot = Scripted().firmware().kernel().init().lose(2)
    boot.services()
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "dhcp" in verdict.summary
    assert verdict.console.lost_lines == 2


def test_a_system_that_freezes_after_the_complete_boot() -> None:
    boot = Scripted().firmware().kernel().init().onboot().up()
    boot.wait(LIMITS.settle_s + LIMITS.alive_s - 0.5)
    assert boot.watch.verdict is None
    verdict = told(boot.wait(1).verdict)
    assert verdict.outcome is Outcome.HANG and verdict.stage is Stage.COMPLETE
    assert "alive" in verdict.summary


def test_a_system_that_takes_its_time_to_say_that_it_is_alive() -> None:
    boot = Scripted().firmware().kernel().init().onboot().up().wait(LIMITS.settle_s + 2)
    assert boot.watch.verdict is None
    assert boot.settled().verdict.passed


def test_services_that_are_gone_when_the_boot_has_settled() -> None:
    boot = Scripted().firmware().kernel().init().onboot().up().settled("0")
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.SERVICE_FAILED and "only 0" in verdict.summary


def test_modules_that_cannot_be_loaded() -> None:
    boot = Scripted().firmware().kernel().event("start", kernel="6", init="1", build="")
    boot.say("insmod: can't insert 'x.ko': invalid module format")
    boot.event("modules", count="2", failed="1").onboot().services()
    verdict = told(boot.wait(2).verdict)
    assert verdict.outcome is Outcome.INIT_FAILED and verdict.fault is Fault.IMAGE
    assert "1 of the image's kernel modules" in verdict.summary
    assert any("invalid module format" in line for line in verdict.cause_lines)


def test_an_initramfs_that_is_not_whole() -> None:
    boot = Scripted().firmware().kernel()
    boot.say("[    0.500000] Initramfs unpacking failed: ZSTD-compressed data is corrupt")
    boot.say("[    0.900000] Kernel panic - not syncing: No working init found.").wait(2)
    verdict = told(boot.verdict)
    assert verdict.outcome is Outcome.INIT_FAILED and "is corrupt" in verdict.summary
    assert boot.verdict.title == "init failed"


def test_what_a_container_wrote_is_no_panic() -> None:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    boot.say("[    3.000000] farm: dhcp: Kernel panic - not syncing: I read of it")
    boot.event("onboot-end", name="dhcp", rc="1", s="1.0")
    assert told(boot.wait(2).verdict).outcome is Outcome.ONBOOT_FAILED


def test_a_skipped_step_says_nothing_of_a_service_of_its_name() -> None:
    expected = Expectation(
        "raspberrypi",
        ("hello",),
        ("hello",),
        ports=(("hello", 80),),
        missing=("network",),
        limits=LIMITS,
    )
    boot = Scripted(expected).firmware().kernel().init()
    boot.event("skipped", kind="onboot", name="hello", need="network")
    assert boot.watch.ports_to_ask == (("hello", 80),)


def test_escapes_do_not_reach_people() -> None:
    boot = Scripted().firmware().kernel().init().event("onboot-begin", name="dhcp")
    boot.raw(b"\x1b]0;owned\x07\x1b[2Jhidden\x00\xff\n").event(
        "onboot-end", name="dhcp", rc="1", s="1"
    )
    verdict = boot.wait(2).verdict
    assert "hidden\\x00\\xff" in verdict.cause_lines


def test_a_flood_is_bounded() -> None:
    boot = Scripted().firmware().kernel()
    for _ in range(300):
        boot.raw(b"x" * 100_000)
    verdict = boot.wait(LIMITS.kernel_s + 1).verdict
    assert verdict.outcome is Outcome.HANG
    assert sum(map(len, verdict.cause_lines + verdict.last_lines)) < 300_000


def test_no_limit_but_the_targets_clock_counts() -> None:
    boot = Scripted().firmware().kernel()
    for _ in range(1000):
        boot.watch.tick(boot.clock_s)
    assert boot.watch.verdict is None


def test_json_there_and_back() -> None:
    boot = Scripted().firmware().kernel().init()
    boot.event("skipped", kind="onboot", name="dhcp", need="network").wait(2)
    verdict = boot.verdict
    data = verdict.to_json()
    assert data["format"] == 1 and data["fault"] == "image" and data["outcome"] == "onboot-failed"
    assert Verdict.from_json(data) == verdict
    assert dataclasses.replace(verdict, summary="x") != verdict
