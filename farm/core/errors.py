# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors, and the exit codes that they end in.

    FarmError
    ├── UserError            2   wrong input: a file, an option, a missing program
    │   └── MissingProgramError
    ├── BuildError           1   a component, kernel or image could not be made
    ├── CheckError           1   something was checked and is not as it should be
    └── BenchError           3   a board, cable, relay, host or network; never the image

Only `farm.cli` turns one into an exit; library code raises. `docs/exit-codes.md` is the
same table for users.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process ends with; documented in `docs/exit-codes.md`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BENCH = 3
    INTERNAL = 70
    INTERRUPTED = 130


class FarmError(Exception):
    """Something that farm can explain.

    Args:
        message: what is wrong, naming the file, target or step; one line, or a list of lines.
        hint: what to do about it, or None where there is nothing to advise.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UserError(FarmError):
    """What was typed or written cannot be done."""

    exit_code = ExitCode.USAGE


class MissingProgramError(UserError):
    """A program that farm runs is not installed."""


class BuildError(FarmError):
    """A component, kernel or image could not be made."""


class CheckError(FarmError):
    """A thing was checked and is not as it should be."""


class BenchError(FarmError):
    """Trouble of the bench (board, cable, power, network, host): never the image's fault."""

    exit_code = ExitCode.BENCH
