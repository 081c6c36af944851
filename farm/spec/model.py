# SPDX-License-Identifier: Apache-2.0
"""What every model of a file shares: frozen, and no key that it does not know."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

from farm.core.arch import Arch
from farm.core.errors import UserError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$")]
"""A name that is safe as a file name, a container name and a word in a console line."""

FileMode = Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3,4}$")]
"""Permission bits as LinuxKit writes them: an octal string."""

PATTERN_WORDS = {
    r"^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$": (
        "a name of at most 64 small letters, digits, '-', '_' and '.', "
        "with a letter or digit at both ends"
    ),
    r"^0?[0-7]{3,4}$": "permission bits as an octal number in quotes, as '0644'",
}
"""What the patterns above ask for, in words for an error."""

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions, from the model that it starts at."""


class PlacedError(ValueError):
    """What a model's own check found, and below which of its keys.

    Args:
        faults: the path from the model, and what is wrong there.
    """

    def __init__(self, *faults: tuple[Path, str]) -> None:
        super().__init__("; ".join(what for _, what in faults))
        self.faults = faults


class Model(BaseModel):
    """A part of a file that a person writes."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _arch(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Arch.parse(value)
    except UserError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


ArchName = Annotated[Arch, BeforeValidator(_arch)]
"""An architecture in anybody's spelling."""
