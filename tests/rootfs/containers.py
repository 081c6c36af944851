# SPDX-License-Identifier: Apache-2.0
"""Containers for the tests of this room, whose images hold next to nothing."""

from __future__ import annotations

from farm.core.arch import Arch
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Entry, Kind, Tree, make_tree
from farm.rootfs import Container, ContainerKind
from farm.spec.component import Need
from farm.spec.container import ContainerConfig, Health


def small_image(store: Store, ref: str, data: bytes = b"x") -> StoredImage:
    """An image with one program, `/go`."""
    tree = make_tree([Entry("go", Kind.FILE, 0o755, data=data)])
    return store.put_image(
        ref=ref, arch=Arch.ARM64, trees=[tree], labels={}, config={"Cmd": ["/go"]}
    )


def container(
    image: StoredImage,
    kind: ContainerKind = "services",
    name: str = "one",
    *,
    index: int = 0,
    needs: tuple[Need, ...] = (),
    health: Health | None = None,
    **keys: object,
) -> Container:
    """A container of `image` with image-entry keys by name."""
    config = ContainerConfig.model_validate(keys)
    return Container(kind, index, name, image, config, needs, health)


def texts(tree: Tree) -> dict[str, str]:
    """The files of a tree, as text, and its links as `-> TARGET`."""
    found = {e.path: e.read().decode() for e in tree if e.kind is Kind.FILE}
    return found | {e.path: f"-> {e.target}" for e in tree if e.kind is Kind.SYMLINK}
