# SPDX-License-Identifier: Apache-2.0
"""The references list every key, and their examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.spec.assembly import Assembly, FileEntry, ImageEntry, KernelEntry
from farm.spec.component import Component, DebianSource
from farm.spec.container import ContainerConfig, Device, Health, Mount, Runtime
from farm.spec.explain import keys_of
from farm.spec.load import load_text
from farm.spec.model import Model

DOCS = Path(__file__).parents[2] / "docs"
REFERENCES: dict[str, tuple[type[Model], ...]] = {
    "assembly-reference.md": (
        Assembly,
        KernelEntry,
        ImageEntry,
        FileEntry,
        ContainerConfig,
        Health,
        Mount,
        Device,
        Runtime,
    ),
    "component-reference.md": (Component, DebianSource),
}
EXAMPLES: dict[str, type[Model]] = {
    "assembly-reference.md": Assembly,
    "component-reference.md": Component,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_has_every_key(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    absent = [
        f"{model.__name__}.{key}"
        for model in REFERENCES[name]
        for key in keys_of(model)
        if f"`{key}`" not in text
    ]
    assert absent == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_reference_load(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        load_text(block, name, EXAMPLES[name])


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in sorted(DOCS.rglob("*.md"))
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
