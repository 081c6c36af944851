# SPDX-License-Identifier: Apache-2.0
"""What an agent is told when it starts: a JSON file, written by whoever sets the host up. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.core.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class TargetSettings:
    """One target of the host.

    Args:
        board: its board's name.
        console: pyserial's URL of its console.
        speed: bits a second.
    """

    board: str
    console: str
    speed: int


@dataclass(frozen=True)
class AgentSettings:
    """One agent.

    Args:
        name: bench and host, for messages.
        folder: where logs and notes are kept; its own.
        socket: the unix socket to listen at.
        targets: by name.
        virtual: what `farm.bench.virtual_host` needs; None on a host of real boards.
    """

    name: str
    folder: Path
    socket: Path
    targets: dict[str, TargetSettings]
    virtual: dict[str, Any] | None


def read_settings(path: Path) -> AgentSettings:
    """Return the settings of a file.

    Raises:
        UserError: it cannot be read, or is of another format.
    """
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise UserError(f"{path}: format {data['format']}: this agent reads format {FORMAT}")
        return AgentSettings(
            name=str(data["name"]),
            folder=Path(data["folder"]),
            socket=Path(data["socket"]),
            targets={
                str(name): TargetSettings(
                    str(target["board"]), str(target["console"]), int(target["speed"])
                )
                for name, target in data["targets"].items()
            },
            virtual=data.get("virtual"),
        )
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no agent's settings: {error!r}") from error
