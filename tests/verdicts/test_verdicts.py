# SPDX-License-Identifier: Apache-2.0
"""Each verdict, made to happen by a component of a real image in a real boot of QEMU."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import struct
from pathlib import Path

import anyio
import pytest

from farm.bench.process_table import descendants
from farm.core.errors import ExitCode
from farm.core.run import run
from farm.runs.result import RunResult
from farm.smoke.verdict import Outcome, Stage, Verdict
from tests.verdicts.conftest import QUICK, STEP, Lab

EXTLINUX = ("mtype", "::extlinux/extlinux.conf")
pytestmark = [pytest.mark.boot, pytest.mark.network, pytest.mark.long]


def told(result: RunResult, outcome: Outcome, code: ExitCode = ExitCode.FAILED) -> Verdict:
    """The verdict, once it is the one that was meant and says what it must."""
    verdict = result.verdict
    assert verdict.outcome is outcome, verdict
    assert result.exit_code is code
    assert verdict.summary and verdict.next_step and verdict.last_lines
    written = json.loads((result.folder / "verdict.json").read_bytes())
    assert Verdict.from_json(written["verdict"]) == verdict
    assert verdict.next_step in (result.folder / "junit.xml").read_text()
    return verdict


def on_card(image: Path, *words: str | Path) -> bytes:
    """Run a program of mtools on an image's first partition."""
    with image.open("rb") as file:
        (sector,) = struct.unpack_from("<I", file.read(512), 446 + 8)
    program, *rest = words
    return run([str(program), "-i", f"{image}@@{sector * 512}", *rest]).stdout


def test_onboot_step_fails(lab: Lab) -> None:
    verdict = told(
        lab.boot(lab.assembly(onboot="echo no disk here; exit 3")), Outcome.ONBOOT_FAILED
    )
    assert verdict.step == "culprit" and "exit code 3" in verdict.summary
    assert verdict.stage is Stage.ONBOOT
    assert any("no disk here" in line for line in verdict.cause_lines)


def test_onboot_step_hangs(lab: Lab) -> None:
    verdict = told(lab.boot(lab.assembly(onboot="sleep 100000")), Outcome.HANG)
    assert verdict.step == "culprit" and verdict.stage is Stage.ONBOOT


def test_panic(lab: Lab) -> None:
    verdict = told(lab.boot(lab.assembly(onboot="echo c > /proc/sysrq-trigger")), Outcome.PANIC)
    assert "sysrq triggered crash" in verdict.summary and verdict.stage is Stage.ONBOOT
    assert any("Call trace" in line for line in verdict.cause_lines)


def test_panic_after_the_boot_is_complete(lab: Lab) -> None:
    script = "sleep 3; echo c > /proc/sysrq-trigger"
    verdict = told(lab.boot(lab.assembly(services=script)), Outcome.PANIC)
    assert verdict.stage is Stage.COMPLETE


def test_oops(lab: Lab) -> None:
    # A Raspberry Pi 3 has no PCI, and so nothing where /dev/port reads.
    script = "dd if=/dev/port of=/dev/null bs=1 count=1; sleep 100000"
    verdict = told(lab.boot(lab.assembly(services=script), "rpi3"), Outcome.OOPS)
    assert any("Call trace" in line for line in verdict.cause_lines)


def test_service_that_ends_at_once(lab: Lab) -> None:
    script = "echo the port is taken; exit 5"
    verdict = told(lab.boot(lab.assembly(services=script)), Outcome.SERVICE_FAILED)
    assert verdict.step == "culprit" and "exit code 5" in verdict.summary
    assert any("the port is taken" in line for line in verdict.cause_lines)


def test_service_that_dies_in_the_settle_time(lab: Lab) -> None:
    verdict = told(lab.boot(lab.assembly(services="sleep 3; exit 1")), Outcome.SERVICE_FAILED)
    assert verdict.stage is Stage.COMPLETE and verdict.step == "culprit"


def test_service_whose_health_never_comes(lab: Lab) -> None:
    text = lab.assembly(services="sleep 100000").read_text()
    sick = text.replace(
        "{name:", "{health: {command: [/usr/bin/sh, -c, exit 7], timeout_s: 4}, name:"
    )
    verdict = told(lab.boot(lab.write(sick)), Outcome.SERVICE_FAILED)
    assert "health" in verdict.summary


def test_service_that_does_not_listen(lab: Lab) -> None:
    text = "kernel: {image: farm/debian}\ninit: [farm/init]\n"
    text += "onboot:\n  - {name: dhcp, image: farm/dhcp}\nservices:\n"
    text += STEP.format(name="deaf", image="deaf", script="sleep 100000")
    verdict = told(lab.boot(lab.write(text)), Outcome.PORT_CLOSED)
    assert verdict.step == "deaf" and "81" in verdict.summary


def test_reboot_that_nobody_asked_for(lab: Lab) -> None:
    verdict = told(lab.boot(lab.assembly(onboot="reboot -f; sleep 100")), Outcome.BOOT_LOOP)
    assert "culprit" in (verdict.step, *verdict.summary.split())


def test_reset_without_a_word(lab: Lab) -> None:
    script = "echo b > /proc/sysrq-trigger; sleep 100"
    told(lab.boot(lab.assembly(onboot=script)), Outcome.BOOT_LOOP)


def test_power_off_by_the_guest(lab: Lab) -> None:
    told(lab.boot(lab.assembly(services="sleep 2; poweroff -f; sleep 100")), Outcome.SHUTDOWN)


@pytest.mark.parametrize(("board", "kernel"), [("qemu-arm64", "Image.gz"), ("rpi4", "kernel8.img")])
def test_card_without_a_kernel(lab: Lab, board: str, kernel: str) -> None:
    def remove(image: Path) -> None:
        on_card(image, "mdel", f"::{kernel}")

    result = lab.boot(lab.assembly(onboot="true"), board, change=remove)
    verdict = told(result, Outcome.FIRMWARE)
    assert kernel in verdict.summary and verdict.stage is Stage.FIRMWARE


def test_no_output_of_the_kernel(lab: Lab) -> None:
    def mute(image: Path) -> None:
        config = on_card(image, "mtype", "::extlinux/extlinux.conf")
        assert b"console=ttyAMA0" in config
        file = lab.folder / "extlinux.conf"
        file.write_bytes(config.replace(b"console=ttyAMA0", b"console=ttyS9"))
        on_card(image, "mcopy", "-o", file, "::extlinux/extlinux.conf")

    limits = type(QUICK)(firmware_s=30, kernel_s=15)
    result = lab.boot(lab.assembly(onboot="true"), change=mute, limits=limits)
    verdict = told(result, Outcome.NO_OUTPUT)
    assert verdict.stage is Stage.FIRMWARE and "console=" in verdict.next_step


def test_panic_without_an_init(lab: Lab) -> None:
    def lose(image: Path) -> None:
        config = on_card(image, "mtype", "::extlinux/extlinux.conf")
        file = lab.folder / "extlinux.conf"
        lines = config.splitlines(keepends=True)
        file.write_bytes(b"".join(line for line in lines if b"initrd" not in line.lower()))
        on_card(image, "mcopy", "-o", file, "::extlinux/extlinux.conf")

    verdict = told(lab.boot(lab.assembly(onboot="true"), change=lose), Outcome.PANIC)
    assert "initramfs" in verdict.next_step and verdict.stage is Stage.KERNEL


def test_initramfs_that_is_damaged_on_the_card(lab: Lab) -> None:
    def rot(image: Path) -> None:
        file = lab.folder / "initrd"
        (name,) = re.findall(r"initrd /?(\S+)", on_card(image, *EXTLINUX).decode(), re.I)
        data = bytearray(on_card(image, "mtype", f"::{name}"))
        # The last segment, without which everything comes up all the same.
        data[len(data.rstrip(b"\0")) - 1] ^= 0xFF
        file.write_bytes(data)
        on_card(image, "mcopy", "-o", file, f"::{name}")

    verdict = told(lab.boot(lab.assembly(onboot="true"), change=rot), Outcome.INIT_FAILED)
    assert "initramfs" in verdict.summary


def test_module_that_cannot_be_loaded(lab: Lab) -> None:
    text = lab.assembly(onboot="true").read_text()
    text += 'files:\n  - {path: /etc/farm/modules, contents: "/no/such.ko\\n"}\n'
    verdict = told(lab.boot(lab.write(text)), Outcome.INIT_FAILED)
    assert "1 of the image's kernel modules" in verdict.summary
    assert any("such.ko" in line for line in verdict.cause_lines)


def test_image_of_an_earlier_build_of_the_same_assembly(lab: Lab) -> None:
    earlier = lab.folder / "earlier.img"
    shutil.copyfile(lab.build(lab.assembly(onboot="true"), "qemu-arm64").image, earlier)

    def swap(image: Path) -> None:
        shutil.copyfile(earlier, image)

    result = lab.boot(lab.assembly(onboot="true; true"), change=swap)
    verdict = told(result, Outcome.INFRASTRUCTURE, ExitCode.BENCH)
    assert "another system" in verdict.summary and "build id" in verdict.summary


def test_system_that_freezes_after_the_boot_is_complete(lab: Lab) -> None:
    # Process 1 itself, by its cgroup: it takes no signal that stops.
    script = (
        "sleep 2; cd /proc/1/root/sys/fs/cgroup; mkdir ice; echo 1 > ice/cgroup.procs; "
        "echo 1 > ice/cgroup.freeze; sleep 100000"
    )
    limits = dataclasses.replace(QUICK, alive_s=10)
    verdict = told(lab.boot(lab.assembly(services=script), limits=limits), Outcome.HANG)
    assert verdict.stage is Stage.COMPLETE and "alive" in verdict.summary


def test_network_that_should_be_there(lab: Lab) -> None:
    text = "kernel: {image: farm/debian}\ninit: [farm/init]\n"
    text += "onboot:\n  - {name: dhcp, image: farm/dhcp}\n"
    # The stand-in lacks a network; a board that has one must not get away with that.
    verdict = told(lab.boot(lab.write(text), "rpi4", missing=()), Outcome.ONBOOT_FAILED)
    assert "no network card appeared" in verdict.summary
    result = lab.boot(lab.write(text), "rpi4")
    assert result.verdict.title == "pass (network not exercised)"


def test_emulator_that_dies_is_not_held_against_the_image(lab: Lab) -> None:
    async def boot() -> RunResult:
        results: list[RunResult] = []

        async def run_it() -> None:
            results.append(await lab.run(lab.assembly(onboot="true"), "qemu-arm64", limits=QUICK))
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_it)
            while True:
                for child in descendants({os.getpid()}):
                    if "qemu-system" in " ".join(child.argv):
                        os.kill(child.pid, signal.SIGKILL)
                await anyio.sleep(0.3)
        return results[0]

    result = anyio.run(boot)
    verdict = told(result, Outcome.INFRASTRUCTURE, ExitCode.BENCH)
    assert "QEMU" in verdict.summary
    assert str(result.folder) in verdict.next_step
    assert "<error" in (result.folder / "junit.xml").read_text()


def test_nothing_is_left_of_a_boot_that_is_stopped(lab: Lab) -> None:
    async def boot() -> None:
        with anyio.move_on_after(4) as scope:
            await lab.run(lab.assembly(onboot="sleep 1000"), "qemu-arm64", limits=QUICK)
        assert scope.cancelled_caught

    lab.build(lab.assembly(onboot="sleep 1000"), "qemu-arm64")
    anyio.run(boot)
    assert [child for child in descendants({os.getpid()}) if "qemu" in child.argv[0]] == []
    assert list((lab.folder / "runs").iterdir()) == []
