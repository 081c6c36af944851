# SPDX-License-Identifier: Apache-2.0
"""What an image says of itself in its labels: LinuxKit's configuration, and farm's own facts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from farm.core.errors import UserError
from farm.oci.store import StoredImage
from farm.spec.component import Component, Need
from farm.spec.container import ContainerConfig, Health

LABEL_CONFIG = "org.mobyproject.config"
"""How the container runs: JSON of LinuxKit's image-entry keys, as LinuxKit's own images have it."""

LABEL_COMPONENT = "io.farm.component"
"""JSON of ComponentFacts."""


@dataclass(frozen=True)
class ComponentFacts:
    """What farm knows of a component beside its files.

    Args:
        name: the component's; an image of somebody else has none.
        needs: what a board must have for it to be exercised.
        ports: TCP ports that it serves.
        health: the command that says that it is up.
        modules: kernel modules that it needs.
        packages: name and version of each Debian package that files were taken from.
    """

    name: str = ""
    needs: tuple[Need, ...] = ()
    ports: tuple[int, ...] = ()
    health: Health | None = None
    modules: tuple[str, ...] = ()
    packages: tuple[tuple[str, str], ...] = ()


_FACTS = TypeAdapter(ComponentFacts)


def component_facts(image: StoredImage) -> ComponentFacts:
    """Return an image's facts; empty ones where farm did not make it.

    Raises:
        UserError: its label is malformed.
    """
    label = image.labels.get(LABEL_COMPONENT)
    if label is None:
        return ComponentFacts()
    try:
        return _FACTS.validate_json(label)
    except ValidationError as error:
        raise _bad_label(image, LABEL_COMPONENT, error) from error


def component_config(image: StoredImage) -> ContainerConfig:
    """Return how an image's container runs, by its label; an empty one where it has none.

    Raises:
        UserError: the label is malformed, or has a key that farm does not know.
    """
    label = image.labels.get(LABEL_CONFIG)
    if label is None:
        return ContainerConfig()
    try:
        return ContainerConfig.model_validate_json(label)
    except ValidationError as error:
        raise _bad_label(image, LABEL_CONFIG, error) from error


def labels_of(component: Component, packages: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the labels that a component's image gets: the same component, the same text."""
    facts = ComponentFacts(
        name=component.name,
        needs=component.needs,
        ports=component.ports,
        health=component.health,
        modules=component.modules,
        packages=tuple(sorted(packages)),
    )
    config = component.config.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    return {
        LABEL_CONFIG: _json(config),
        LABEL_COMPONENT: _json(_FACTS.dump_python(facts, mode="json", exclude_none=True)),
        "org.opencontainers.image.title": component.name,
        "org.opencontainers.image.description": component.summary,
    }


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _bad_label(image: StoredImage, label: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return UserError(f"image {image.ref}: label {label}: {where or 'it'}: {first['msg']}")
