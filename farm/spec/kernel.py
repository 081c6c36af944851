# SPDX-License-Identifier: Apache-2.0
"""A kernel's definition, `kernels/NAME.yml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from farm.spec.model import ArchName, Model, Name


class DebianKernel(Model):
    """A kernel out of Debian's packages."""

    packages: dict[ArchName, str] = Field(
        min_length=1, description="architecture → package, which may be a meta package"
    )
    suite: str | None = Field(None, description="another suite than the project's")
    suites: dict[ArchName, str] = Field({}, description="another suite for one architecture")
    firmware: tuple[str, ...] = Field(
        (), description="packages whose firmware files go along with the modules that name them"
    )
    areas: tuple[str, ...] = Field(
        ("main",), description="parts of the archive to look in, as non-free-firmware"
    )


class Kernel(Model):
    """Which kernel it is and how it is made ready for images."""

    format: Literal[1] = Field(description="the version of this file's format")
    name: Name = Field(description="as its file is called")
    summary: str = Field(description="what it is, in one line")
    debian: DebianKernel = Field(description="which of Debian's kernels it is")
    cmdline: str = Field(
        "", description="what this kernel wants on its command line, on every board"
    )
    strip_module_signatures: bool = Field(
        False,
        description="modules load several times faster; taints the kernel, no lockdown with it",
    )
