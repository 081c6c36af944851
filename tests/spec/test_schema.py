# SPDX-License-Identifier: Apache-2.0
"""Schemas for editors: valid, described, and the shipped files are valid by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from farm.core.errors import UserError
from farm.spec import assembly, bench, board, component, container, kernel
from farm.spec.model import Model
from farm.spec.project import builtin_folder
from farm.spec.schema import KINDS, json_schema

CHECKOUT = builtin_folder()
TEMPLATE = Path(bench.__file__).parent / "template"
SHIPPED = [
    (kind, path)
    for root in (CHECKOUT, TEMPLATE)
    for kind, pattern in (
        ("assembly", "assemblies/*.yml"),
        ("board", "boards/*.yml"),
        ("kernel", "kernels/*.yml"),
        ("component", "components/*/component.yml"),
        ("bench", "hil/bench*.yml"),
        ("bench", "bench.yml"),
    )
    for path in sorted(root.glob(pattern))
]


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_valid_and_closed(kind: str) -> None:
    schema = json_schema(kind)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in objects(schema):
        assert part["additionalProperties"] is False


@pytest.mark.parametrize(
    ("kind", "path"), SHIPPED, ids=[f"{k}-{p.parent.name}-{p.stem}" for k, p in SHIPPED]
)
def test_shipped_files_are_valid_by_their_schema(kind: str, path: Path) -> None:
    data = YAML(typ="safe", pure=True).load(path)
    jsonschema.Draft202012Validator(json_schema(kind)).validate(data)


def test_keys_stand_in_the_schema_as_they_are_written() -> None:
    entry = json_schema("assembly")["$defs"]["ImageEntry"]["properties"]
    assert "capabilities.add" in entry
    assert "capabilities_add" not in entry


def test_an_unknown_key_is_refused_by_the_schema_too() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("assembly"))
    assert validator.is_valid({"kernel": {"image": "a"}})
    assert not validator.is_valid({"kernel": {"image": "a"}, "servces": []})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="there is no schema of 'image'"):
        json_schema("image")


def test_every_key_is_described() -> None:
    models = [
        value
        for module in (assembly, bench, board, component, container, kernel)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Model)
    ]
    bare = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert bare == []


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("properties"):
            yield part
