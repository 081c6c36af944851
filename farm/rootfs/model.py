# SPDX-License-Identifier: Apache-2.0
"""What a root filesystem is composed of: containers, and what init knows of the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from farm.oci.store import StoredImage
from farm.spec.component import Need
from farm.spec.container import ContainerConfig, Health

ContainerKind: TypeAlias = Literal["onboot", "onshutdown", "services"]


@dataclass(frozen=True)
class Container:
    """One container of an assembly.

    Args:
        kind: the assembly's list that it stands in.
        index: its place there, from 0; onboot and onshutdown run in this order.
        name: the entry's name, unique in its list.
        image: the files.
        config: the image-entry keys, merged from assembly and component.
        needs: what the board must have for it; where that is absent, init skips it.
        health: how a service says that it is up.
        ports: TCP ports that it serves.
    """

    kind: ContainerKind
    index: int
    name: str
    image: StoredImage
    config: ContainerConfig
    needs: tuple[Need, ...] = ()
    health: Health | None = None
    ports: tuple[int, ...] = ()

    @property
    def bundle(self) -> str:
        """Path of its bundle in the guest, without the leading '/'; LinuxKit's layout."""
        if self.kind == "services":
            return f"containers/services/{self.name}"
        return f"containers/{self.kind}/{self.index:03d}-{self.name}"

    @property
    def files(self) -> str:
        """Path of its files in the guest, without the leading '/'.

        It does not depend on the place in the list, so that a step that moves leaves the
        segment of its image as it was. Containers that cannot write share their image's files.
        """
        if self.config.readonly:
            return f"containers/images/{self.image.digest.removeprefix('sha256:')[:16]}"
        return f"containers/files/{self.kind}-{self.name}"


@dataclass(frozen=True)
class BootFacts:
    """What init must know; it stands in `/etc/farm/board` as KEY=value lines.

    Args:
        board: the board, or family of boards.
        network_wait_s: how long a network card may take to appear, in seconds.
        settle_s: how long a service without a health command must have run to be up.
    """

    board: str
    network_wait_s: float = 0.0
    settle_s: float = 0.5
