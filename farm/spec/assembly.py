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

    image: ImageRef
    cmdline: str = ""


class ImageEntry(ContainerConfig):
    """One container of `onboot`, `onshutdown` or `services`."""

    name: Name
    image: ImageRef
    health: Health | None = Field(None, description="farm's own: replaces the component's")

    def config(self) -> ContainerConfig:
        """The entry's image-entry keys alone."""
        return ContainerConfig.model_validate(
            self.model_dump(by_alias=True, exclude={"name", "image", "health"}, exclude_unset=True)
        )


class FileEntry(Model):
    """A file, folder or link put into the root filesystem."""

    path: str = Field(min_length=1)
    directory: bool = False
    symlink: str | None = None
    contents: str | None = None
    source: str | None = Field(
        None, description="a file of the build machine; relative to the current folder, or ~/"
    )
    metadata: Literal["yaml", "json"] | None = None
    optional: bool = False
    mode: FileMode | None = None
    uid: int = 0
    gid: int = 0

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

    kernel: KernelEntry
    init: tuple[ImageRef, ...] = ()
    onboot: tuple[ImageEntry, ...] = ()
    onshutdown: tuple[ImageEntry, ...] = ()
    services: tuple[ImageEntry, ...] = ()
    files: tuple[FileEntry, ...] = ()

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
