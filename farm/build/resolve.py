# SPDX-License-Identifier: Apache-2.0
"""What an assembly's names mean: its images in the store, its containers with their keys merged."""

from __future__ import annotations

from dataclasses import dataclass

from farm.components import ComponentFacts, build_component, component_config, component_facts
from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.core.progress import Reporter
from farm.debian import ArchiveSettings
from farm.oci.store import Store, StoredImage
from farm.rootfs import Container, ContainerKind
from farm.spec.assembly import Assembly, ImageEntry
from farm.spec.merge import merged_config
from farm.spec.project import Project

BUILT_HERE = "farm/"


@dataclass(frozen=True)
class Resolved:
    """An assembly's images, found or built.

    Args:
        init: in the assembly's order.
        containers: onboot, onshutdown and services, each in the assembly's order.
        facts: of every image, each once.
    """

    init: tuple[StoredImage, ...]
    containers: tuple[Container, ...]
    facts: tuple[ComponentFacts, ...]


@dataclass(frozen=True)
class Sources:
    """Where images come from: a project's components, and the store."""

    project: Project
    store: Store
    settings: ArchiveSettings
    reporter: Reporter

    def image(self, ref: str, arch: Arch, *, where: str) -> StoredImage:
        """Return the image that a reference means; `farm/NAME` is built where need be.

        Args:
            where: the key of the assembly that names it, for the error.

        Raises:
            UserError: no component and no image of the store has that name.
            BuildError: the component cannot be built.
        """
        name = ref.removeprefix(BUILT_HERE)
        if ref != name and name in self.project.components():
            found = self.project.component(name)
            return build_component(found, arch, self.store, self.settings, self.reporter)
        if image := self.store.find(ref, arch):
            return image
        if ref != name:
            self.project.component(name)  # tells which components there are
        raise UserError(
            f"{where}: {ref} is not in the store for {arch}",
            hint=f"store: {self.store.path}; farm's own components are named {BUILT_HERE}NAME",
        )


def resolve(assembly: Assembly, arch: Arch, sources: Sources, *, where: str) -> Resolved:
    """Find or build every image of an assembly.

    Args:
        where: the assembly's file, for errors.

    Raises:
        UserError: an image is in neither the project nor the store.
        BuildError: a component cannot be built.
    """
    images: dict[str, StoredImage] = {}

    def image(ref: str, key: str) -> StoredImage:
        if ref not in images:
            images[ref] = sources.image(ref, arch, where=f"{where}: {key}")
        return images[ref]

    init = tuple(image(ref, f"init[{i}]") for i, ref in enumerate(assembly.init))
    containers: list[Container] = []
    lists: tuple[tuple[ContainerKind, tuple[ImageEntry, ...]], ...] = (
        ("onboot", assembly.onboot),
        ("onshutdown", assembly.onshutdown),
        ("services", assembly.services),
    )
    for kind, entries in lists:
        for index, entry in enumerate(entries):
            found = image(entry.image, f"{kind}[{index}].image")
            containers.append(_container(kind, index, entry, found))
    return Resolved(init, tuple(containers), tuple(map(component_facts, images.values())))


def _container(kind: ContainerKind, index: int, entry: ImageEntry, image: StoredImage) -> Container:
    facts = component_facts(image)
    return Container(
        kind=kind,
        index=index,
        name=entry.name,
        image=image,
        config=merged_config(entry.config(), component_config(image)),
        needs=facts.needs,
        health=entry.health or facts.health,
        ports=facts.ports,
    )
