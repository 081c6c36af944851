# SPDX-License-Identifier: Apache-2.0
"""The assembly: LinuxKit's YAML, as far as farm speaks it, and farm's own keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from farm.spec.container import ContainerConfig, Health
from farm.spec.model import FileMode, Model, Name, Path, PlacedError

ImageRef = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""`farm/NAME` for a component of the project or a built-in one, else a reference in the store."""


class KernelEntry(Model):
    """Which kernel, and the command line beside the board's own."""

    image: ImageRef = Field(description="farm/NAME for a kernel of the project or a built-in one")
    cmdline: str = Field("", description="appended to the board's own kernel command line")


class ImageEntry(ContainerConfig):
    """One container of `onboot`, `onshutdown` or `services`."""

    name: Name = Field(description="names the container; once among the services")
    image: ImageRef = Field(description="farm/NAME for a component of the project or built in")
    health: Health | None = Field(None, description="farm's own: replaces the component's")

    def config(self) -> ContainerConfig:
        """The entry's image-entry keys alone."""
        return ContainerConfig.model_validate(
            self.model_dump(by_alias=True, exclude={"name", "image", "health"}, exclude_unset=True)
        )


class FileEntry(Model):
    """A file, folder or link put into the root filesystem."""

    path: str = Field(min_length=1, description="where it is in the root filesystem")
    directory: bool = Field(False, description="true: an empty folder")
    symlink: str | None = Field(None, description="a symbolic link to this")
    contents: str | None = Field(None, description="a file with this text")
    source: str | None = Field(
        None, description="a file of the build machine; relative to the current folder, or ~/"
    )
    metadata: Literal["yaml", "json"] | None = Field(
        None, description="a file with the assembly as it was resolved"
    )
    optional: bool = Field(False, description="true: left out where `source` cannot be read")
    mode: FileMode | None = Field(
        None, description="permission bits; '0600' where not given, '0700' for a folder"
    )
    uid: int = Field(0, ge=0, description="user id of its owner")
    gid: int = Field(0, ge=0, description="group id of its owner")

    @model_validator(mode="after")
    def _one_kind(self) -> FileEntry:
        given = [
            self.directory,
            *(v is not None for v in (self.symlink, self.contents, self.source, self.metadata)),
        ]
        if sum(given) != 1:
            raise ValueError(
                "exactly one of directory, symlink, contents, source and metadata is needed"
            )
        if ".." in self.path.split("/"):
            raise PlacedError((("path",), "'..' leads out of the root filesystem"))
        return self


class Assembly(Model):
    """A whole system: kernel, init, what runs once, what goes on running, files."""

    kernel: KernelEntry = Field(description="the kernel, and its command line")
    init: tuple[ImageRef, ...] = Field(
        (), description="images unpacked to /, in this order: the init and what it needs"
    )
    onboot: tuple[ImageEntry, ...] = Field(
        (), description="run one after the other at boot; each must end with exit code 0"
    )
    onshutdown: tuple[ImageEntry, ...] = Field(
        (), description="run one after the other at a clean shutdown"
    )
    services: tuple[ImageEntry, ...] = Field(
        (), description="started after onboot; restarted when they end"
    )
    files: tuple[FileEntry, ...] = Field(
        (), description="files, folders and links, put over everything else"
    )

    @model_validator(mode="after")
    def _names_once(self) -> Assembly:
        first: dict[str, int] = {}
        faults: list[tuple[Path, str]] = []
        for index, entry in enumerate(self.services):
            if entry.name in first:
                what = f"the name {entry.name!r} is taken by services[{first[entry.name]}]"
                faults.append((("services", index, "name"), what))
            first.setdefault(entry.name, index)
        if faults:
            raise PlacedError(*faults)
        return self
