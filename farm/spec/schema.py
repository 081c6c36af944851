# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas of the files that people write, for editors, out of the models that load them.

Source of the format: JSON Schema 2020-12, https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from farm.core.errors import UserError
from farm.spec.assembly import Assembly
from farm.spec.bench import Bench
from farm.spec.board import Board, Family
from farm.spec.component import Component
from farm.spec.kernel import Kernel

KINDS: tuple[str, ...] = ("assembly", "board", "kernel", "component", "bench")
"""The kinds of files that have a schema."""


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file, with the keys as they stand in it.

    Args:
        kind: one of `KINDS`.

    Raises:
        UserError: there is no such kind.
    """
    adapters: dict[str, TypeAdapter[Any]] = {
        "assembly": TypeAdapter(Assembly),
        "board": TypeAdapter(Board | Family),
        "kernel": TypeAdapter(Kernel),
        "component": TypeAdapter(Component),
        "bench": TypeAdapter(Bench),
    }
    if kind not in adapters:
        raise UserError(f"there is no schema of {kind!r}", hint=f"there is: {', '.join(KINDS)}")
    schema = adapters[kind].json_schema(by_alias=True)
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": f"farm: {kind}", **schema}
