# SPDX-License-Identifier: Apache-2.0
"""A component's definition, `components/NAME/component.yml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from farm.spec.assembly import FileEntry
from farm.spec.container import ContainerConfig, Health
from farm.spec.model import ArchName, Model, Name

Need = Literal["network"]
"""What a board must have for a container to be exercised; `init` skips it where it is absent."""


class DebianSource(Model):
    """Files taken out of Debian packages, with the libraries that they link."""

    packages: tuple[str, ...] = Field(min_length=1, description="names of Debian packages")
    files: tuple[str, ...] = Field(
        min_length=1, description="absolute paths or globs; shared libraries follow by themselves"
    )
    suite: str | None = Field(None, description="another suite than the project's")
    suites: dict[ArchName, str] = Field({}, description="another suite for one architecture")
    areas: tuple[str, ...] = Field(
        ("main",), description="parts of the archive to look in, as contrib or non-free-firmware"
    )


class Component(Model):
    """One reusable part: what is in its image, and how its container runs."""

    format: Literal[1] = Field(description="the version of this file's format")
    name: Name = Field(description="as its folder is called")
    summary: str = Field(description="what it is, in one line")
    debian: DebianSource | None = Field(None, description="what is taken out of Debian packages")
    files: tuple[FileEntry, ...] = Field((), description="`source` is relative to this file")
    modules: tuple[str, ...] = Field((), description="kernel modules that it needs")
    needs: tuple[Need, ...] = Field(
        (), description="what a board must have; where it is absent, the container is skipped"
    )
    ports: tuple[int, ...] = Field(
        (), description="TCP ports that it serves, asked from outside after boot"
    )
    health: Health | None = Field(None, description="how a service says that it is up")
    config: ContainerConfig = Field(
        ContainerConfig(), description="how its container runs; an assembly's entry comes first"
    )
