# SPDX-License-Identifier: Apache-2.0
"""The build record, `IMAGE.json`: what an image is made of and what it promises at boot."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.spec.component import Need
from farm.spec.model import Model


class ContainerRecord(Model):
    """A container that the image starts.

    `ports` are TCP ports that it serves; `needs` is what a board must have to exercise it;
    `health_s` is how long its health command has, in guest seconds, 0 where it has none.
    """

    name: str
    image: str
    needs: tuple[Need, ...] = ()
    ports: tuple[int, ...] = ()
    health_s: float = 0


class PartRecord(Model):
    """One part of the image and its size in bytes."""

    name: str
    bytes: int


class BuildRecord(Model):
    """What was built; written beside the image.

    `digest` is the SHA-256 of the image's bytes that matter (see `farm.image.card`);
    `build_id` is what the guest's init says of itself, of kernel and initramfs; "" in a record of
    before there was one. `init_images` are references with their digests, in order.
    """

    format: Literal[1] = 1
    name: str
    assembly: str
    board: str
    boards: tuple[str, ...]
    arch: Arch
    digest: str
    build_id: str = ""
    size_bytes: int
    kernel: str
    kernel_release: str
    cmdline: str
    init_images: tuple[str, ...]
    onboot: tuple[ContainerRecord, ...]
    services: tuple[ContainerRecord, ...]
    packages: tuple[tuple[str, str], ...]
    parts: tuple[PartRecord, ...]


def record_path(image: Path) -> Path:
    """Where an image's record lies."""
    return image.with_name(image.name + ".json")


def read_record(image: Path) -> BuildRecord:
    """Read the record beside an image.

    Raises:
        UserError: there is none, or it is not a record that this farm reads.
    """
    path = record_path(image)
    try:
        return BuildRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{image}: no build record ({path.name}) beside it",
            hint="`farm build` writes both; copy the record along with the image",
        ) from None
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path}: not a build record: {error}", hint="build the image again"
        ) from error
