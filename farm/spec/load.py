# SPDX-License-Identifier: Apache-2.0
"""Reading a file that a person wrote: YAML 1.2 into a model, or all of its problems at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from farm.core.errors import UserError
from farm.spec.explain import explain
from farm.spec.model import Model
from farm.spec.nodes import (
    MAX_BYTES,
    Fault,
    Map,
    Node,
    TextError,
    describe,
    plain,
    read_nodes,
)

M = TypeVar("M", bound=Model)
_SHOWN = 50


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file.

    Args:
        file: as it was given.
        line: from 1.
        column: from 1.
        path: the key, as `services[0].image`; empty where the whole file is meant.
        what: what was expected.
        hint: what it may have been meant to be, or None.
    """

    file: str
    line: int
    column: int
    path: str
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {path}{self.what}{hint}"


class SpecError(UserError):
    """A file is not what it should be; `problems` lists everything that is wrong in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        lines = [str(problem) for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"and {len(problems) - _SHOWN} more")
        super().__init__("\n".join(lines))
        self.problems = problems


def load(path: Path, model: type[M]) -> M:
    """Return the model that a file holds.

    Raises:
        SpecError: the file is not YAML, or has other keys or values than the model.
        UserError: there is no such file, it cannot be read, or it is not text.
    """
    return load_text(read_text(path), str(path), model)


def load_one_of(path: Path, choose: Callable[[Iterable[str]], type[M]]) -> M:
    """Return the model that a file holds, where its top-level keys say which model it is.

    Raises:
        SpecError, UserError: as `load`.
    """
    name = str(path)
    root, faults = _parse(read_text(path), name)
    return _validated(root, faults, name, choose(root.items))


def load_text(text: str, name: str, model: type[M]) -> M:
    """Return the model that a text holds; `name` stands for its file in errors.

    Raises:
        SpecError: the text is not YAML, or has other keys or values than the model.
    """
    root, faults = _parse(text, name)
    return _validated(root, faults, name, model)


def problem_at(path: Path, key: str, what: str) -> SpecError:
    """Return an error about the value of a top-level key, for what only its reader can know."""
    root, _ = _parse(read_text(path), str(path))
    item = root.items.get(key, root)
    return SpecError((_problem(str(path), Fault(item.place, key, what)),))


def read_text(path: Path) -> str:
    """Return a file's text; a file for people is at most 256 KiB of UTF-8.

    Raises:
        UserError: there is no such file, it cannot be read, is too large or is not text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file", hint=_like(path)) from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder, not a file", hint=_inside(path)) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read: {why}") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES // 1024} KiB, which no such file is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: is not text: byte {data[error.start]:#04x} is not UTF-8",
            hint="save it as UTF-8",
        ) from error


def _parse(text: str, name: str) -> tuple[Map, list[Fault]]:
    try:
        root, faults = read_nodes(text)
    except TextError as error:
        raise SpecError((_problem(name, error.fault),)) from error
    if root is None:
        raise SpecError((Problem(name, 1, 1, "", "the file is empty"),))
    if not isinstance(root, Map):
        what = f"expected keys and values, found {describe(root)}"
        raise SpecError((_problem(name, Fault(root.place, "", what)),))
    return root, faults


def _validated(root: Node, faults: list[Fault], name: str, model: type[M]) -> M:
    # JSON is pydantic's own strict form for files: lists are tuples there, and texts no numbers.
    data = json.dumps(plain(root))
    try:
        value = model.model_validate_json(data, strict=True)
    except ValidationError as error:
        faults = [*faults, *explain(error, root, model)]
        raise SpecError(_problems(name, faults)) from error
    if faults:
        raise SpecError(_problems(name, faults))
    return value


def _problems(name: str, faults: Iterable[Fault]) -> tuple[Problem, ...]:
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: (fault.place, fault.path))
    return tuple(_problem(name, fault) for fault in ordered)


def _problem(name: str, fault: Fault) -> Problem:
    line, column = fault.place
    return Problem(name, line, column, fault.path, fault.what, fault.hint)


def _like(path: Path) -> str | None:
    """Name the file beside a missing one that may have been meant."""
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    except OSError:
        return f"there is no folder {path.parent} either" if path.parent.name else None
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else None


def _inside(path: Path) -> str | None:
    found = sorted(path.glob("*.yml"))[:5]
    return f"it has: {', '.join(str(file) for file in found)}" if found else None
