# SPDX-License-Identifier: Apache-2.0
"""Every error leaves by its exit code, with words and without a traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from farm.cli.errors import guarded
from farm.core.errors import BenchError, BuildError, ExitCode, UserError


def _raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def _run(error: BaseException) -> tuple[int, str]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(guarded(_raising(error)))
    result = CliRunner().invoke(app, [])
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no board 'rpi5'", hint="known: rpi4"), ExitCode.USAGE),
        (BuildError("sshd: no"), ExitCode.FAILED),
        (BenchError("rpi4-1: no"), ExitCode.BENCH),
    ],
)
def test_a_farm_error_is_told_in_words(error: UserError, code: ExitCode) -> None:
    exit_code, said = _run(error)
    assert exit_code == code
    assert said.startswith(f"farm: {error.message}\n")
    assert "Traceback" not in said
    assert (f"→ {error.hint}" in said) == bool(error.hint)


def test_ctrl_c() -> None:
    assert _run(KeyboardInterrupt()) == (ExitCode.INTERRUPTED, "farm: interrupted\n")


def test_a_bug_shows_its_traceback() -> None:
    exit_code, said = _run(ZeroDivisionError("x"))
    assert exit_code == ExitCode.INTERNAL
    assert "Traceback" in said
    assert "this is a bug of farm: ZeroDivisionError" in said


def test_errors_of_a_task_group_are_told_one_by_one() -> None:
    group = ExceptionGroup("g", [BenchError("a"), ExceptionGroup("h", [BenchError("b")])])
    assert _run(group) == (ExitCode.BENCH, "farm: a\nfarm: b\n")


def test_ctrl_c_among_a_task_groups_errors_wins() -> None:
    group = BaseExceptionGroup("g", [BenchError("a"), KeyboardInterrupt()])
    assert _run(group)[0] == ExitCode.INTERRUPTED
