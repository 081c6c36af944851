# SPDX-License-Identifier: Apache-2.0
"""One boot through the ordinary drivers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from farm.core.errors import BenchError
from farm.core.progress import SilentReporter
from farm.runs.boot import Boot, Drivers, booting
from farm.runs.console_log import ConsoleLog
from farm.smoke.verdict import Expectation, Outcome, Verdict
from tests.runs.fake_board import FakeBoard
from tests.smoke.scripted import LIMITS, Scripted

pytestmark = pytest.mark.anyio
EXPECTED = Expectation("raspberrypi", ("dhcp",), ("hello",), limits=LIMITS)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def booted(
    board: FakeBoard, folder: Path, expected: Expectation = EXPECTED
) -> AsyncIterator[Boot]:
    with contextlib.closing(ConsoleLog(folder / "console.log")) as log:
        async with booting(board.drivers, expected, log, SilentReporter()) as boot:
            yield boot


async def verdict_of(board: FakeBoard, folder: Path, expected: Expectation = EXPECTED) -> Verdict:
    with anyio.fail_after(60):
        async with booted(board, folder, expected) as boot:
            return await boot.verdict()


async def test_pass_and_the_power_is_off(tmp_path: Path) -> None:
    board = FakeBoard(Scripted.whole)
    verdict = await verdict_of(board, tmp_path)
    assert verdict.passed
    assert board.switched == ["off", "on", "off"]
    log = (tmp_path / "console.log").read_text()
    assert "left over from before" in log and "--- power on" in log and "complete" in log
    assert not any("left over" in line for line in verdict.last_lines)


async def test_failure_of_the_image(tmp_path: Path) -> None:
    board = FakeBoard(
        lambda s: s.firmware().kernel().say("[    1.000000] Kernel panic - not syncing: x")
    )
    assert (await verdict_of(board, tmp_path)).outcome is Outcome.PANIC
    assert board.switched[-1] == "off"


async def test_console_that_breaks_is_the_bench(tmp_path: Path) -> None:
    board = FakeBoard(lambda s: s.firmware(), BenchError("host-1: SSH was cut", hint="cable?"))
    verdict = await verdict_of(board, tmp_path)
    assert verdict.outcome is Outcome.INFRASTRUCTURE
    assert "SSH was cut" in verdict.summary and verdict.next_step == "cable?"


async def test_lost_lease_is_the_bench(tmp_path: Path) -> None:
    board = FakeBoard(lambda s: s.firmware())
    with anyio.fail_after(60):
        async with booted(board, tmp_path) as boot:
            board.lost.set()
            verdict = await boot.verdict()
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "lease" in verdict.summary


@pytest.mark.parametrize("state", ["off", "fault: QEMU ended (exit 1)"])
async def test_lost_power_is_the_bench(tmp_path: Path, state: str) -> None:
    board = FakeBoard(lambda s: s.firmware().kernel())
    board.state_text = state
    patient = Expectation("raspberrypi")
    object.__setattr__(patient.limits, "kernel_s", 1e6)
    verdict = await verdict_of(board, tmp_path, patient)
    assert verdict.outcome is Outcome.INFRASTRUCTURE


async def test_cancelling_switches_off(tmp_path: Path) -> None:
    board = FakeBoard(lambda s: s.firmware())
    with anyio.move_on_after(0.2) as scope:
        async with booted(board, tmp_path, Expectation("raspberrypi")) as boot:
            await boot.verdict()
    assert scope.cancelled_caught
    assert board.switched == ["off", "on", "off"]


async def test_power_that_fails_is_one_plain_error(tmp_path: Path) -> None:
    class Dead(FakeBoard):
        async def on(self) -> None:
            raise BenchError("relay-1: no answer")

    board = Dead(Scripted.whole)
    with pytest.raises(BenchError, match="relay-1"):
        await verdict_of(board, tmp_path)
    assert board.switched == ["off", "off"]


async def test_console_after_the_verdict(tmp_path: Path) -> None:
    board = FakeBoard(Scripted.whole)
    with anyio.fail_after(60):
        async with booted(board, tmp_path) as boot:
            await boot.verdict()
            await boot.changed()
            assert b"complete" in boot.written(0)
            await boot.write(b"ls\n")
    assert board.typed == [b"ls\n"]


def _asking(missing: tuple[str, ...] = ()) -> Expectation:
    return dataclasses.replace(EXPECTED, ports=(("hello", 80),), missing=missing)


async def test_ports_that_a_board_without_network_has_are_named(tmp_path: Path) -> None:
    verdict = await verdict_of(FakeBoard(Scripted.whole), tmp_path, _asking(("network",)))
    assert verdict.title == "pass (network not exercised)"
    assert [one.name for one in verdict.skipped] == ["hello:80"]


async def test_a_port_that_cannot_be_asked_is_no_pass(tmp_path: Path) -> None:
    verdict = await verdict_of(FakeBoard(Scripted.whole), tmp_path, _asking())
    assert verdict.outcome is Outcome.INFRASTRUCTURE
    assert "port 80 of hello" in verdict.summary


async def test_a_bench_without_network_is_no_pass(tmp_path: Path) -> None:
    class Cut(FakeBoard):
        @property
        def drivers(self) -> Drivers:
            return dataclasses.replace(super().drivers, network=None)

    verdict = await verdict_of(Cut(Scripted.whole), tmp_path, _asking())
    assert verdict.outcome is Outcome.INFRASTRUCTURE and "missing" in verdict.next_step


async def test_port_without_an_answer(tmp_path: Path) -> None:
    expected = Expectation(
        "raspberrypi", ("dhcp",), ("hello",), ports=(("hello", 80),), limits=LIMITS
    )
    board = FakeBoard(Scripted.whole)
    board.ports[80] = 9  # nobody listens there
    verdict = await verdict_of(board, tmp_path, expected)
    assert verdict.outcome is Outcome.PORT_CLOSED
