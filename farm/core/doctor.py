# SPDX-License-Identifier: Apache-2.0
"""What of the programs that farm runs is installed here, and in which versions."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farm.core.errors import FarmError
from farm.core.programs import PROGRAMS, Program
from farm.core.run import find_program, run

# Not a digit inside a name, as in ser2net.
_VERSION = re.compile(rb"(?<![A-Za-z\d])\d+(?:\.\d+)*(?:p\d+)?")


@dataclass(frozen=True)
class Finding:
    """One program: where it is and whether it will do.

    Args:
        version: as it says itself, or None where it does not say.
        problem: why it will not do, or None.
        command: what brings it, or None where nothing is needed.
    """

    name: str
    purpose: str
    path: str | None
    version: str | None
    problem: str | None
    command: str | None
    package: str


@dataclass(frozen=True)
class DoctorReport:
    """All findings, in the table's order."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether everything is there."""
        return all(finding.problem is None for finding in self.findings)

    @property
    def missing_packages(self) -> tuple[str, ...]:
        """Debian packages to install, as `apt-get install` takes them."""
        return tuple(dict.fromkeys(finding.package for finding in self.findings if finding.problem))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {"ready": self.ready, "programs": [asdict(one) for one in self.findings]}

    def to_text(self) -> str:
        """The report for a person."""
        width = max(len(one.name) for one in self.findings)
        lines = []
        for one in self.findings:
            state = one.problem or f"{one.version or 'installed'}  {one.path}"
            lines.append(f"{'✗' if one.problem else '✓'} {one.name:<{width}}  {state}")
            if one.problem:
                lines.append(f"  {'':<{width}}  needed: {one.purpose}")
                lines.append(f"  {'':<{width}}  → {one.command}")
        lines.append("all is there" if self.ready else "something is missing, see → above")
        return "\n".join(lines)


def examine() -> DoctorReport:
    """Look for every program and ask it for its version."""
    return DoctorReport(tuple(_examine(program) for program in PROGRAMS))


def _examine(program: Program) -> Finding:
    suite = f"-t {program.suite} " if program.suite and _is_bookworm() else ""
    command = f"sudo apt-get install {suite}{program.package}"
    try:
        path = find_program(program.name)
    except FarmError:
        return Finding(
            program.name, program.purpose, None, None, "not installed", command, program.package
        )
    version = _version(path, program)
    problem = None
    if program.minimum and (version is None or _numbers(version) < _numbers(program.minimum)):
        problem = f"{version or 'unknown version'}, at least {program.minimum} is needed"
    return Finding(
        program.name,
        program.purpose,
        path,
        version,
        problem,
        command if problem else None,
        program.package,
    )


def _version(path: str, program: Program) -> str | None:
    if not program.version_argv:
        return None
    try:
        done = run([path, *program.version_argv], timeout_s=20, check=False)
    except FarmError:
        return None
    found = _VERSION.search(done.stdout + done.stderr)
    return found.group().decode() if found else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _is_bookworm() -> bool:
    try:
        return "bookworm" in Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return False
