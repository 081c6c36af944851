# SPDX-License-Identifier: Apache-2.0
"""What every model of a file shares: frozen, and no key that it does not know."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$")]
"""A name that is safe as a file name, a container name and a word in a console line."""

FileMode = Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3,4}$")]
"""Permission bits as LinuxKit writes them: an octal string."""


class Model(BaseModel):
    """A part of a file that a person writes."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
