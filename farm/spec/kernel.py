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
    suite: str | None = None
    suites: dict[ArchName, str] = Field({}, description="another suite for one architecture")
    firmware: tuple[str, ...] = Field(
        (), description="packages whose firmware files go along with the modules that name them"
    )
    areas: tuple[str, ...] = ("main",)


class Kernel(Model):
    """Which kernel it is and how it is made ready for images."""

    format: Literal[1]
    name: Name
    summary: str
    debian: DebianKernel
    strip_module_signatures: bool = Field(
        False,
        description="modules load several times faster; taints the kernel, no lockdown with it",
    )
