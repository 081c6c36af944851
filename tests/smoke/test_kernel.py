# SPDX-License-Identifier: Apache-2.0
"""What the kernel's lines mean."""

from __future__ import annotations

import pytest

from farm.smoke.kernel import KernelReader, Sign, begins_kernel, stamped


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("[    0.000000] Linux version 6.12.94+deb13-arm64 (gcc)", Sign.BANNER),
        ("[    3.100000] Kernel panic - not syncing: sysrq triggered crash", Sign.PANIC),
        ("[    3.100000] ---[ end Kernel panic - not syncing: sysrq ]---", Sign.PANIC_END),
        ("Kernel panic - not syncing", Sign.PANIC),
        ("[    3.100000][  T123] Internal error: Oops: 0000000096000044 [#1] SMP", Sign.OOPS),
        ("[    3.100000] Unable to handle kernel NULL pointer dereference at 0", Sign.OOPS),
        ("[    3.100000] kernel BUG at mm/slub.c:1!", Sign.OOPS),
        ("[    3.100000] BUG: KASAN: slab-out-of-bounds in f", Sign.OOPS),
        ("[    3.100000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", Sign.WARNING),
        ("[    3.100000] rcu: INFO: rcu_preempt self-detected stall on CPU", Sign.WARNING),
        ("[    3.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!", Sign.WARNING),
        ("[    3.100000] watchdog: Watchdog detected hard LOCKUP on cpu 1", Sign.WARNING),
        ("[    3.100000] watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1", Sign.WARNING),
        ("[    3.100000] Oops [#1]", Sign.OOPS),
        ("[    3.100000] Oops: general protection fault, probably for x", Sign.OOPS),
        ("[    0.500000] Initramfs unpacking failed: junk in compressed archive", Sign.INITRAMFS),
        (
            "[    0.500000] rootfs image is not initramfs (bad); looks like one",
            Sign.INITRAMFS,
        ),
        ("[    3.100000] WARNING: CPU: 0 PID: 1 at kernel/x.c:3 f+0x1/0x2", Sign.WARNING),
        ("[    3.100000] reboot: Restarting system with command '0 tryboot'", Sign.RESTART),
        ("[    3.100000] reboot: Power down", Sign.POWER_OFF),
        ("half a line[    3.100000] Kernel panic - not syncing: x", Sign.PANIC),
        ("[    3.100000] dwc2 3f980000.usb: Invalid parameter max_packet_count=511", None),
        ("[    3.100000] Debugging is on", None),
    ],
)
def test_signs(text: str, sign: Sign | None) -> None:
    # Where none was seen with a stamp, an unstamped kernel is believed.
    assert stamped(text) == ("[ " in text)
    assert KernelReader().sign(text) is sign


def test_a_service_that_talks_of_a_panic_is_none() -> None:
    reader = KernelReader()
    assert reader.sign("Kernel panic - not syncing: an unstamped kernel") is Sign.PANIC
    assert reader.sign("[    1.000000] random: crng init done") is None
    assert reader.sign("hello: Kernel panic - not syncing: in a log that it shows") is None
    assert reader.sign("[    1.100000] Kernel panic - not syncing: real") is Sign.PANIC


@pytest.mark.parametrize(
    "quoted",
    [
        "Kernel panic - not syncing: read in a log",
        "[    1.000000] Kernel panic - not syncing: with its stamp",
        "BUG: in my program",
        "Internal error: disk full",
        "reboot: Power down",
    ],
)
def test_what_init_shows_of_a_container_is_not_the_kernels(quoted: str) -> None:
    reader = KernelReader()
    assert reader.sign(f"[    3.100000] farm: hello: {quoted}") is None
    assert reader.sign(f"farm: hello: {quoted}") is None


@pytest.mark.parametrize("before", ["usb 1-1: ", "audit: say=", "systemd[1]: "])
def test_a_sign_stands_at_the_lines_begin(before: str) -> None:
    assert KernelReader().sign(f"[    3.100000] {before}Internal error: Oops: 1") is None


def test_first_lines() -> None:
    assert begins_kernel("[    0.000000] Booting Linux on physical CPU 0x0")
    assert begins_kernel("Linux version 6.12")
    assert not begins_kernel("Booting Linux is fun")
