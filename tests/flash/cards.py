# SPDX-License-Identifier: Apache-2.0
"""Images and cards for the tests of flashing."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from farm.core.progress import Task
from farm.core.ssh import SshConnection
from farm.flash.blocks import ImageBlocks, image_blocks
from farm.flash.client import FlashReport, flash
from farm.flash.wire import BLOCK_BYTES

MIB = 1 << 20
SIGNATURE = b"\x55\xaa"


def make_image(path: Path, *, seed: int = 1, blocks: int = 60, size: int = 16 * MIB) -> Path:
    """A sparse disk image: a boot sector, and `blocks` scattered blocks, mostly random bytes."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        file.write(rng.randbytes(510) + SIGNATURE + rng.randbytes(2000))
        for index in rng.sample(range(1, size // BLOCK_BYTES - 1), blocks):
            file.seek(index * BLOCK_BYTES)
            file.write(rng.randbytes(rng.choice((100, 40000, BLOCK_BYTES))))
    return path


def make_card(path: Path, *, size: int = 24 * MIB, like: Path | None = None) -> Path:
    """A card as a file: full of other bytes, or of an image's with other bytes behind it."""
    data = random.Random(99).randbytes(BLOCK_BYTES) * (size // BLOCK_BYTES)
    if like is not None:
        image = like.read_bytes()
        data = image + data[len(image) :]
    path.write_bytes(data)
    return path


def differing(card: Path, image: Path, blocks: ImageBlocks) -> int:
    """How many of an image's mapped blocks the card does not have."""
    return sum(a != b for a, b in zip(mapped(card, blocks), mapped(image, blocks), strict=True))


def mapped(path: Path, blocks: ImageBlocks) -> list[bytes]:
    """The bytes at an image's mapped blocks."""
    found = []
    with path.open("rb") as file:
        for index in blocks.mapped:
            file.seek(index * BLOCK_BYTES)
            found.append(file.read(min(BLOCK_BYTES, blocks.size_bytes - index * BLOCK_BYTES)))
    return found


def boots(card: Path) -> bool:
    """Whether firmware would take the first sector for a boot sector."""
    with card.open("rb") as file:
        return file.read(512)[510:] == SIGNATURE


def flash_it(
    connection: SshConnection,
    card: Path | str,
    image: Path,
    *,
    reporter: Watcher | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FlashReport:
    """Flash `image`, all of it read anew."""
    return flash(
        connection,
        str(card),
        image,
        image_blocks(image),
        reporter=reporter or Watcher(),
        cancelled=cancelled,
    )


class Watcher:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.progress: list[tuple[int, int | None, str]] = []

    @contextlib.contextmanager
    def task(self, title: str) -> Iterator[Task]:
        self.notes.append(title)
        yield self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self.progress.append((done, total, note))
