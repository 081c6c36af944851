# SPDX-License-Identifier: Apache-2.0
"""What is sent to a bench host runs there: old Python, nothing but the standard library."""

from __future__ import annotations

import ast
import sys
from importlib import resources

import pytest

from farm.flash.sending import _BOOTSTRAP, HELPER_COMMAND, MODULES, helper_source


def _source(name: str) -> str:
    return (resources.files("farm.flash") / f"{name}.py").read_text("utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_python_3_9_reads_it(name: str) -> None:
    ast.parse(_source(name), feature_version=(3, 9))


def test_python_3_9_reads_the_bootstrap() -> None:
    ast.parse(_BOOTSTRAP, feature_version=(3, 6))
    assert "\0" not in HELPER_COMMAND[-1]


@pytest.mark.parametrize("name", MODULES)
def test_it_imports_the_standard_library_and_what_was_sent_before(name: str) -> None:
    before = {f"farm.flash.{other}" for other in MODULES[: MODULES.index(name)]}
    for node in ast.walk(ast.parse(_source(name))):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "farm.flash":
            names = {f"farm.flash.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or ""}
        else:
            continue
        for module in names - before:
            assert module.split(".")[0] in sys.stdlib_module_names or module == "compression", (
                module
            )


@pytest.mark.parametrize("name", MODULES)
def test_annotations_are_not_evaluated(name: str) -> None:
    assert "from __future__ import annotations" in _source(name)


def test_it_is_small() -> None:
    assert len(helper_source()) < 16_000
