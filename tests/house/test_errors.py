# SPDX-License-Identifier: Apache-2.0
"""One tree of errors: each with a documented exit code, and no library's own gets past a room."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import farm
from farm.core.errors import ExitCode, FarmError
from tests.house.checkout import ROOT, name_of, package_files, tree

EXIT_CODES = ROOT / "docs" / "exit-codes.md"

# Per library: its root error (or, where it has none, what it raises). A module that calls it
# catches one of these or everything; and somewhere in farm it is named, so that it is told apart.
CAUGHT = {
    "paramiko": {"SSHException"},
    "fabric": {"SSHException"},
    "serial": {"SerialException"},
    "qemu.qmp": {"QMPError"},
    "httpx": {"HTTPError", "RequestError", "TransportError"},
    "subprocess": {"OSError", "SubprocessError", "TimeoutExpired", "CalledProcessError"},
}
EVERYTHING = {"Exception", "BaseException"}


def error_classes() -> list[type[FarmError]]:
    for module in pkgutil.walk_packages(farm.__path__, "farm."):
        if module.name.startswith(("farm.builtin", "farm.spec.template")):
            continue
        importlib.import_module(module.name)

    def below(cls: type[FarmError]) -> Iterator[type[FarmError]]:
        for sub in cls.__subclasses__():
            yield sub
            yield from below(sub)

    return sorted(
        {cls for cls in below(FarmError) if cls.__module__.startswith("farm.")},
        key=lambda cls: (cls.__module__, cls.__name__),
    )


def test_every_error_ends_in_a_code_of_the_list() -> None:
    assert {cls.exit_code for cls in error_classes()} <= set(ExitCode)


def test_every_error_and_code_is_documented() -> None:
    lines = EXIT_CODES.read_text(encoding="utf-8").splitlines()
    absent = [
        f"{cls.__module__}.{cls.__name__} ({cls.exit_code.value})"
        for cls in error_classes()
        if not cls.__name__.startswith("_")
        and not any(f"| `{cls.__name__}` | {cls.exit_code.value} |" in line for line in lines)
    ]
    assert absent == []
    table = "\n".join(line for line in lines if line.startswith("|"))
    assert [code.name for code in ExitCode if f"| {code.value} " not in table] == []


def test_errors_have_their_suffix() -> None:
    assert [cls.__name__ for cls in error_classes() if not cls.__name__.endswith("Error")] == []


def test_a_library_is_called_only_where_its_errors_are_caught() -> None:
    unmapped = [
        f"{name_of(path)}: calls {library}, catches none of {', '.join(sorted(names))}"
        for path in package_files()
        for library, names in CAUGHT.items()
        if _calls(tree(path), library) and not (names | EVERYTHING) & _caught(tree(path))
    ]
    assert unmapped == []


def test_every_librarys_errors_are_told_apart_somewhere() -> None:
    trees = [tree(path) for path in package_files()]
    named = set().union(*map(_caught, trees), *map(_asked_for, trees))
    used = {library for library in CAUGHT for module in trees if _calls(module, library)}
    assert {library for library in used if not CAUGHT[library] & named} == set()


def test_only_core_runs_programs() -> None:
    allowed = {"farm/core/run.py", "farm/flash/helper.py"}
    found = {
        name_of(path)
        for path in package_files()
        if any(_imports(node, "subprocess") for node in ast.walk(tree(path)))
    }
    assert found <= allowed


def test_only_the_command_line_exits() -> None:
    """Library code raises; only `cli`, and programs of their own under `__main__`, exit."""
    own_programs = {"__main__.py", "helper.py"}
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in package_files()
        if path.name not in own_programs and not _in(path, "cli")
        for statement in tree(path).body
        if not (isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test))
        for node in ast.walk(statement)
        if (isinstance(node, ast.Call) and _dotted(node.func) in ("sys.exit", "exit", "quit"))
        or (isinstance(node, ast.Raise) and "SystemExit" in ast.unparse(node))
    ]
    assert found == []


def _calls(module: ast.Module, library: str) -> bool:
    """Whether a module calls something of a library; its types and errors alone do not count."""
    typing_only = {
        inner
        for node in ast.walk(module)
        if isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    bound = {
        alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else library)
        for node in ast.walk(module)
        if node not in typing_only
        and _imports(node, library)
        and isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    called = {_dotted(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)}
    return any(f"{call}.".startswith(f"{name}.") for call in called for name in bound)


def _imports(node: ast.AST, library: str) -> bool:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [node.module or ""]
    else:
        return False
    return any(name == library or name.startswith(f"{library}.") for name in names)


def _caught(module: ast.Module) -> set[str]:
    """Return the last names of the exception classes that a module's handlers name."""
    named: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            named |= {_dotted(kind).rpartition(".")[2] for kind in kinds}
    return named


def _asked_for(module: ast.Module) -> set[str]:
    """Return the last names of the classes that a module's `isinstance` asks for."""
    named: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _dotted(node.func) == "isinstance" and node.args[1:]:
            kinds = node.args[1]
            asked = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
            named |= {_dotted(kind).rpartition(".")[2] for kind in asked}
    return named


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _in(path: Path, room: str) -> bool:
    return path.is_relative_to(ROOT / "farm" / room)
