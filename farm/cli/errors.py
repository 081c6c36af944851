# SPDX-License-Identifier: Apache-2.0
"""Errors on their way out: words for a person, the documented exit code, no traceback."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec

import typer

from farm.core.errors import ExitCode, FarmError

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that every error ends in its exit code, and an interruption tidies up."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        # A job that is ended by its scheduler (SIGTERM) or whose terminal is gone (SIGHUP) tidies
        # up as on Ctrl-C.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except FarmError as error:
            tell(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("farm: interrupted", file=sys.stderr)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output left (`farm … | head`): nothing is wrong, and the
            # interpreter must not try to flush into the pipe once more.
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
            raise typer.Exit(ExitCode.OK) from None
        except BaseExceptionGroup as group:
            raise typer.Exit(_tell_group(group)) from None
        except Exception as error:
            traceback.print_exc()
            print(f"farm: this is a bug of farm: {type(error).__name__}: {error}", file=sys.stderr)
            raise typer.Exit(ExitCode.INTERNAL) from None

    return run


def tell(error: FarmError) -> None:
    """Print an error and what to do about it."""
    print(f"farm: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  → {error.hint}", file=sys.stderr)


def _tell_group(group: BaseExceptionGroup[BaseException]) -> ExitCode:
    """Tell what task groups raised together; the exit code is the first farm error's."""
    leaves = list(_leaves(group))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        print("farm: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    known = [leaf for leaf in leaves if isinstance(leaf, FarmError)]
    for error in known:
        tell(error)
    if known:
        return known[0].exit_code
    traceback.print_exception(group)
    return ExitCode.INTERNAL


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
