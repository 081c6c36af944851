# SPDX-License-Identifier: Apache-2.0
"""The one place that starts programs: argument lists, a clean environment, errors that tell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from farm.core.errors import BuildError, FarmError, MissingProgramError
from farm.core.programs import BY_NAME

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT
Process: TypeAlias = subprocess.Popen[bytes]
Stream: TypeAlias = int | IO[bytes]

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# What a child inherits: enough to find itself and its user's keys, nothing that changes output.
_KEPT = ("HOME", "USER", "LOGNAME", "PATH", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")


@dataclass(frozen=True)
class Completed:
    """A program that has ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes


def find_program(name: str) -> str:
    """Return the absolute path of a program.

    Raises:
        MissingProgramError: it is not installed; the hint is the command that installs it.
    """
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN))
    if found := shutil.which(name, path=search):
        return found
    known = BY_NAME.get(name)
    if known is None:
        raise MissingProgramError(f"{name}: no such program")
    suite = f" -t {known.suite}" if known.suite else ""
    raise MissingProgramError(
        f"{name}: not installed ({known.purpose})",
        hint=f"sudo apt-get install{suite} {known.package}",
    )


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that programs get: few variables, C.UTF-8, UTC."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    input: bytes | None = None,
    check: bool = True,
    error: type[FarmError] = BuildError,
    what: str | None = None,
) -> Completed:
    """Run a program to its end.

    Args:
        argv: the program and its arguments; never seen by a shell.
        cwd: where it runs.
        env: variables beside the clean environment.
        timeout_s: seconds of wall time after which it is killed.
        input: bytes for its standard input; None gives it an empty one.
        check: whether a return code other than 0 is an error.
        error: the error's class, by whose fault a failure is.
        what: what was being done, for the message.

    Raises:
        MissingProgramError: the program is not installed.
        FarmError: as `error`, with the command ready to paste and the end of its output.
    """
    words = [str(word) for word in argv]
    command = [find_program(words[0]), *words[1:]]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=clean_environment(env),
            input=input if input is not None else b"",
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise error(
            f"{_what(what, words)}: no end after {timeout_s:g} s", hint=paste(words)
        ) from late
    except OSError as failure:
        raise error(f"{_what(what, words)}: {failure}", hint=paste(words)) from failure
    if check and done.returncode != 0:
        tail = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-8:]
        lines = "".join(f"\n    {line}" for line in tail)
        raise error(
            f"{_what(what, words)}: exit code {done.returncode}{lines}",
            hint=f"the command was: {paste(words)}",
        )
    return Completed(tuple(words), done.returncode, done.stdout, done.stderr)


def spawn(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Stream = DEVNULL,
    stdout: Stream = DEVNULL,
    stderr: Stream = DEVNULL,
    die_with_parent: bool = False,
    new_session: bool = False,
) -> Process:
    """Start a program that goes on; the caller waits for it or ends it.

    Args:
        die_with_parent: whether the kernel kills it when this process ends, however that is.
        new_session: whether it gets a session of its own, so that a terminal's Ctrl-C misses it.

    Raises:
        MissingProgramError: the program is not installed.
    """
    words = [str(word) for word in argv]
    command = [find_program(words[0]), *words[1:]]
    if die_with_parent:
        command = [find_program("setpriv"), "--pdeathsig", "KILL", "--", *command]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environment(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=new_session,
    )


def paste(argv: Sequence[str | Path]) -> str:
    """Return a command as a shell would take it, to be shown and pasted."""
    return shlex.join(str(word) for word in argv)


def _what(what: str | None, words: Sequence[str]) -> str:
    return what or Path(words[0]).name
