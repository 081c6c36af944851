# SPDX-License-Identifier: Apache-2.0
"""The root filesystem of an assembly as segments, in the order in which they are unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

from farm.core.errors import UserError
from farm.core.progress import Reporter
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Tree
from farm.rootfs.bundle import base_tree, bundle_tree
from farm.rootfs.model import BootFacts, Container
from farm.rootfs.place import PLACING, links_after, placed
from farm.rootfs.segment import SMALL, Codec, Segment, image_segment, segment

_Making: TypeAlias = Callable[[], Segment]


def compose(
    *,
    init: Sequence[StoredImage],
    containers: Sequence[Container],
    files: Tree,
    modules: Tree,
    facts: BootFacts,
    codec: Codec,
    store: Store,
    reporter: Reporter,
) -> tuple[Segment, ...]:
    """Return the segments of an assembly's initramfs.

    In order: the base (folders, what init knows of the board), the init images at the root, the
    kernel's modules, each container's files, all containers' bundles, the assembly's files.
    What comes later replaces what came before. Those that the store has are not made again,
    and nothing of their images is read.

    Args:
        init: images whose files are unpacked at the root, in this order.
        containers: of onboot, onshutdown and services.
        files: the assembly's own files.
        modules: kernel modules, firmware and their lists.
        facts: what init must know of the board.
        codec: what the kernel can unpack.
        store: where images and segments are.
        reporter: told of what has to be made.

    Raises:
        UserError: two containers of one list have one name, or something does not fit into an
            initramfs.
        BuildError: an image is damaged, or the store cannot be written.
    """
    _check_names(containers)
    makings: list[_Making] = [partial(segment, "base", base_tree(containers, facts), codec, store)]
    links: dict[str, str] = {}
    for image in init:
        makings.append(
            partial(
                image_segment,
                f"init {image.ref}",
                image,
                "",
                codec,
                store,
                links=dict(links),
                levels=SMALL,
            )
        )
        links = _links(image, links, store)
    if modules:
        makings.append(partial(segment, "modules", placed(modules, links), codec, store))
    for place, owners in _trees(containers).items():
        name = f"{owners[0].kind} {', '.join(owner.name for owner in owners)}"
        makings.append(partial(image_segment, name, owners[0].image, place, codec, store))
    if containers:
        makings.append(partial(segment, "bundles", bundle_tree(containers), codec, store))
    if files:
        makings.append(partial(segment, "files", placed(files, links), codec, store))
    with (
        reporter.task("composing the root filesystem"),
        ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool,
    ):
        return tuple(pool.map(lambda making: making(), makings))


def _trees(containers: Sequence[Container]) -> dict[str, list[Container]]:
    """Group the containers by where their files are: those that cannot write share them."""
    groups: dict[str, list[Container]] = {}
    for one in containers:
        groups.setdefault(one.files, []).append(one)
    return groups


def _links(image: StoredImage, links: dict[str, str], store: Store) -> dict[str, str]:
    """Return the symbolic links that there are once `image` is unpacked over `links`."""
    key = f"{PLACING} {image.digest} {sorted(links.items())}"
    known = store.recall_json("root-links", key)
    if isinstance(known, dict) and all(isinstance(target, str) for target in known.values()):
        return known
    found = links_after(placed(store.tree(image), links), links)
    store.remember_json("root-links", key, found)
    return found


def _check_names(containers: Sequence[Container]) -> None:
    seen: set[tuple[str, str]] = set()
    for one in containers:
        if (one.kind, one.name) in seen:
            raise UserError(
                f"{one.kind}: the name {one.name!r} stands twice",
                hint="containers of one list are told apart by their names: choose another",
            )
        seen.add((one.kind, one.name))
