# SPDX-License-Identifier: Apache-2.0
"""Reading a file that a person wrote: YAML 1.2 into a model, or all of its problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from farm.core.errors import UserError
from farm.spec.model import Model

M = TypeVar("M", bound=Model)


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

    def __init__(self, problems: tuple[Problem, ...], *, hint: str | None = None) -> None:
        super().__init__("\n".join(map(str, problems)), hint=hint)
        self.problems = problems


def load(path: Path, model: type[M]) -> M:
    """Return the model that a file holds.

    Raises:
        SpecError: the file is not YAML, or has other keys or values than the model.
        UserError: there is no such file, it cannot be read, or it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    return load_text(text, str(path), model)


def load_one_of(path: Path, choose: Callable[[Iterable[str]], type[M]]) -> M:
    """Return the model that a file holds, where its top-level keys say which model it is."""
    keys = YAML(typ="safe", pure=True).load(path)
    return load(path, choose(keys if isinstance(keys, dict) else ()))


def load_text(text: str, name: str, model: type[M]) -> M:
    """Return the model that a text holds; `name` stands for its file in errors.

    Raises:
        SpecError: the text is not YAML, or has other keys or values than the model.
    """
    try:
        data = YAML(typ="safe", pure=True).load(text)
        return model.model_validate(data)
    except YAMLError as error:
        raise SpecError((Problem(name, 1, 1, "", str(error)),)) from error
    except ValidationError as error:
        raise SpecError(
            tuple(
                Problem(name, 1, 1, ".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()
            )
        ) from error
