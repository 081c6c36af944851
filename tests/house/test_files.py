# SPDX-License-Identifier: Apache-2.0
"""What holds for every file and every function of the checkout."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.checkout import code_files, name_of, package_files, tree

SPDX = "SPDX-License-Identifier: Apache-2.0"
MOST_LINES = 500
MOST_FUNCTION_LINES = 70


@pytest.fixture(scope="module")
def files() -> dict[str, list[str]]:
    return {name_of(path): path.read_text("utf-8").splitlines() for path in code_files()}


def test_every_file_has_its_spdx_line(files: dict[str, list[str]]) -> None:
    # What `farm init` copies becomes somebody's own, under whatever licence they choose.
    ours = {name: x for name, x in files.items() if not name.startswith("farm/spec/template/")}
    assert [name for name, lines in ours.items() if not any(SPDX in x for x in lines[:3])] == []


def test_no_file_is_longer_than_500_lines(files: dict[str, list[str]]) -> None:
    assert {name: len(x) for name, x in files.items() if len(x) > MOST_LINES} == {}


def test_no_function_is_longer_than_70_lines() -> None:
    long = {
        f"{name_of(path)}:{node.name}": length
        for path in package_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := _code_lines(node)) > MOST_FUNCTION_LINES
    }
    assert long == {}


def test_nothing_is_left_to_be_done_later(files: dict[str, list[str]]) -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X:")
    left = [
        f"{name}:{number}"
        for name, lines in files.items()
        for number, line in enumerate(lines, 1)
        if any(mark in line for mark in marks)
    ]
    assert left == []


def test_modules_say_what_they_are_for() -> None:
    silent = [
        name_of(path)
        for path in package_files()
        if path.name != "__init__.py" and ast.get_docstring(tree(path)) is None
    ]
    assert silent == []


def test_names_say_what_a_thing_is() -> None:
    """`utils` and the like say nothing of what is inside."""
    grab_bags = {"utils", "util", "common", "manager", "helpers", "lib", "misc"}
    assert [
        name_of(path) for path in package_files() if grab_bags & {path.stem, path.parent.name}
    ] == []


def test_the_walk_sees_this_file() -> None:
    assert Path(__file__) in set(code_files())


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, its docstring aside."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines
