# SPDX-License-Identifier: Apache-2.0
"""Loading takes any bytes: it ends with a model or with an error that farm can explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.core.errors import UserError
from farm.spec.assembly import Assembly
from farm.spec.bench import Bench
from farm.spec.board import Board, Family
from farm.spec.component import Component
from farm.spec.kernel import Kernel
from farm.spec.load import SpecError, load, load_text
from farm.spec.model import Model
from farm.spec.nodes import plain, read_nodes

MODELS: tuple[type[Model], ...] = (Assembly, Bench, Board, Family, Component, Kernel)

VALID = """\
kernel: {image: a, cmdline: "x"}
init: [a, b]
onboot:
  - &one {name: a, image: b, env: ["A=1"], runtime: {mkdir: [/x]}}
services:
  - <<: *one
    name: c
files: [{path: etc/issue, contents: |
  x, mode: "0644"}]
"""

yaml_text = st.text(
    alphabet=st.sampled_from(list("abkx:-?[]{}&*!|>'\"%#@`,.~<=0159 \n\t\\\r\u0085\u2028\ufeffé")),
    max_size=80,
)


def loads_or_explains(text: str, model: type[Model]) -> None:
    try:
        assert isinstance(load_text(text, "f", model), model)
    except SpecError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), model=st.sampled_from(MODELS))
def test_any_bytes(folder: Path, data: bytes, model: type[Model]) -> None:
    path = folder / "f.yml"
    path.write_bytes(data)
    try:
        load(path, model)
    except UserError as error:
        assert str(path) in str(error)


@settings(max_examples=400, deadline=None)
@given(text=yaml_text | st.text(max_size=60), model=st.sampled_from(MODELS))
def test_any_text(text: str, model: type[Model]) -> None:
    loads_or_explains(text, model)


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(VALID)), length=st.integers(0, 12), put=yaml_text)
def test_a_damaged_assembly(at: int, length: int, put: str) -> None:
    loads_or_explains(VALID[:at] + put + VALID[at + length :], Assembly)


keys = sorted(
    {field.alias or name for model in MODELS for name, field in model.model_fields.items()}
    | {"name", "image", "command", "kind", "driver", "virtual", "path", "mode", "<<"}
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["ssh", "loopback", "raspberrypi", "extlinux", "arm64", "forwarded"]),
    lambda below: st.lists(below, max_size=3)
    | st.dictionaries(st.sampled_from(keys) | st.text(max_size=4), below, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    value=st.dictionaries(st.sampled_from(keys), values, max_size=8), model=st.sampled_from(MODELS)
)
def test_any_tree_of_known_keys(value: dict[str, Any], model: type[Model]) -> None:
    loads_or_explains(json.dumps(value), model)


@settings(max_examples=300, deadline=None)
@given(
    value=st.dictionaries(
        st.text(max_size=6).filter(lambda key: key != "<<"),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=12),
            lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=6), below),
            max_leaves=20,
        ),
        max_size=5,
    )
)
def test_json_is_yaml_and_means_the_same(value: dict[str, Any]) -> None:
    root, faults = read_nodes(json.dumps(value, ensure_ascii=True))
    assert root is not None
    if not faults:
        assert plain(root) == value
