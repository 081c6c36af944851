# SPDX-License-Identifier: Apache-2.0
"""The checkout's files, as the tests of the house look at them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "farm",
    "boards",
    "kernels",
    "components",
    "assemblies",
    "hil",
    "tests",
    "tools",
    "benchmarks",
)
_CODE = {".py", ".sh", ".yml"}


def code_files() -> Iterator[Path]:
    """Yield every file that holds code or definitions, scripts without a suffix included."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if not path.is_file() or any(
                part.startswith(".") or part == "__pycache__"
                for part in path.relative_to(ROOT).parts
            ):
                continue
            if path.suffix in _CODE or (not path.suffix and _is_script(path)):
                yield path
    yield from (path for path in (ROOT / "Makefile",) if path.is_file())


def package_files() -> Iterator[Path]:
    """Yield the Python files of the package."""
    yield from (path for path in code_files() if path.suffix == ".py" and _in_package(path))


def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path) -> str:
    """Return a file's path in the checkout."""
    return str(path.relative_to(ROOT))


def _in_package(path: Path) -> bool:
    return path.is_relative_to(ROOT / "farm")


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"
