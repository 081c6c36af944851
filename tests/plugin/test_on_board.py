# SPDX-License-Identifier: Apache-2.0
"""Suites on a real virtual board: its console, shell and power, and boards that die."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.boot, pytest.mark.network, pytest.mark.long]

ASSEMBLY = """\
kernel: {image: farm/debian}
init: [farm/init]
services:
  - {name: getty, image: farm/getty}
"""
BROKEN = """\
kernel: {image: farm/debian}
init: [farm/init]
onboot:
  - {name: getty, image: farm/getty, command: [/usr/bin/busybox, sh, -c, "exit 3"]}
"""


def session(pytester: pytest.Pytester, assembly: str, suite: str) -> pytest.RunResult:
    pytester.path.joinpath("assembly.yml").write_text(assembly)
    pytester.makepyfile(suite)
    return pytester.runpytest_subprocess(
        "--farm-board=qemu-arm64",
        "--farm-no-bench",
        "--farm-assembly=assembly.yml",
        "--farm-results=runs",
        "-rs",
        "-Werror",
    )


def latest(pytester: pytest.Pytester) -> Path:
    return pytester.path / "runs" / "LATEST"


def test_console_shell_and_power(pytester: pytest.Pytester) -> None:
    result = session(
        pytester,
        ASSEMBLY,
        """
        import pytest
        from farm.core.errors import BenchError, CheckError

        def test_console(console):
            assert "complete" in console.read()
            console.send("echo an''swer\\n")
            assert console.expect("^(answer)$")[1] == "answer"
            with pytest.raises(CheckError, match="did not come within 2 s"):
                console.expect("never", timeout_s=2)

        def test_shell(shell, board):
            assert shell.run("uname -r").stdout.strip() == board.record.kernel_release
            both = shell.run("echo one; echo two >&2; exit 5")
            assert (both.stdout, both.returncode) == ("one\\ntwo\\n", 5)
            assert shell.run("printf 'a  b'").stdout == "a  b\\n"
            assert shell.run("true").stdout == ""
            # Where init runs, not in the getty's own container.
            assert shell.run("test -d /containers/services").returncode == 0

        def test_power(power, board, console, shell):
            first = board.timeline[0].boot
            assert power.state() == "on"
            power.off()
            assert power.state() == "off"
            with pytest.raises(BenchError, match="the board is off"):
                console.send("x")
            assert power.on().passed
            assert board.timeline[0].boot != first
            assert shell.run("echo again").stdout == "again\\n"

        def test_no_network(board):
            with pytest.raises(BenchError):
                board.endpoint(80)
        """,
    )
    result.assert_outcomes(passed=4)
    verdict = json.loads((latest(pytester) / "verdict.json").read_bytes())
    assert verdict["verdict"]["outcome"] == "pass"
    assert b"again" in (latest(pytester) / "console.log").read_bytes()


def test_a_board_that_does_not_boot_is_one_failure(pytester: pytest.Pytester) -> None:
    result = session(
        pytester,
        BROKEN,
        """
        def test_first(board): assert board.verdict.passed
        def test_second(board): pass
        def test_third(console): pass
        def test_without_a_board(): pass
        """,
    )
    result.assert_outcomes(failed=1, skipped=2, passed=1)
    result.stdout.fnmatch_lines(
        ["*onboot failed: the onboot step getty ended with exit code 3*", "*the board is dead*"]
    )
    verdict = json.loads((latest(pytester) / "verdict.json").read_bytes())
    assert verdict["verdict"]["outcome"] == "onboot-failed"


def test_a_board_that_dies_under_test_is_one_failure(pytester: pytest.Pytester) -> None:
    result = session(
        pytester,
        ASSEMBLY,
        """
        def test_before(shell): assert shell.run("true").returncode == 0
        def test_killer(shell): shell.run("echo c > /proc/sysrq-trigger")
        def test_after(shell): pass
        """,
    )
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*the kernel panicked: *sysrq triggered crash*"])


def test_no_shell_is_a_skip_with_the_reason(pytester: pytest.Pytester) -> None:
    assembly = ASSEMBLY.partition("services:")[0]
    result = session(pytester, assembly, "def test_it(shell): pass")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no shell on virtual: it has no sshd, and*farm/getty*"])
