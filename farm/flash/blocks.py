# SPDX-License-Identifier: Apache-2.0
"""An image as the flasher sees it: which 64 KiB blocks are in use, and their digests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.core.copying import data_extents
from farm.core.errors import UserError
from farm.flash import wire
from farm.flash.bmap import check_bmap, read_bmap

Extents = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class ImageBlocks:
    """The blocks of an image that a card must hold.

    Args:
        size_bytes: the image's size.
        mapped: indexes of the blocks that hold something, ascending; the first block is
            always one of them.
        digests: `farm.flash.wire.digest` of each of them.
        block_bytes: bytes of a block; the last one of the image may be shorter.
    """

    size_bytes: int
    mapped: tuple[int, ...]
    digests: tuple[bytes, ...]
    block_bytes: int = wire.BLOCK_BYTES

    @property
    def name(self) -> str:
        """A word for what the card will hold: a digest over all of it."""
        return wire.digest(b"".join((str(self.size_bytes).encode(), *self.digests))).hex()


def image_blocks(image: Path) -> ImageBlocks:
    """Read an image's blocks, by `IMAGE.bmap` where that exists, else by its holes.

    Raises:
        UserError: as `read_blocks`; or the block map is damaged or is another image's.
    """
    bmap_file = image.with_name(f"{image.name}.bmap")
    if not bmap_file.exists():
        return read_blocks(image, None)
    bmap = read_bmap(bmap_file)
    check_bmap(image, bmap, bmap_file)
    return read_blocks(image, bmap.extents)


def read_blocks(image: Path, extents: Extents | None) -> ImageBlocks:
    """Read the blocks of an image that overlap `extents`.

    Args:
        image: an uncompressed disk image.
        extents: (offset, size) in bytes, in any order; None for all but the file's holes.

    Raises:
        UserError: the file cannot be read, is no disk image, or an extent lies outside of it.
    """
    try:
        with image.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0 or size % wire.SECTOR_BYTES:
                raise UserError(
                    f"{image}: {size} bytes is no disk image (no whole number of sectors)",
                    hint="a compressed image must be unpacked first",
                )
            if extents is None:
                extents = data_extents(file.fileno(), size)
            mapped = _covered(image, extents, size)
            digests = []
            for index in mapped:
                block = os.pread(
                    file.fileno(), wire.block_length(index, size), index * wire.BLOCK_BYTES
                )
                digests.append(wire.digest(block))
                if index == 0 and wire.unfinished_image(block) is not None:
                    raise UserError(f"{image}: is a copy of a card that was not written to its end")
    except OSError as error:
        raise UserError(f"{image}: cannot be read: {error.strerror}") from error
    return ImageBlocks(size, mapped, tuple(digests))


def _covered(image: Path, extents: Extents, size: int) -> tuple[int, ...]:
    found = {0}
    for offset, length in extents:
        if offset < 0 or length < 0 or offset + length > size:
            raise UserError(f"{image}: the extent {offset}+{length} lies outside of the image")
        if length:
            last = (offset + length - 1) // wire.BLOCK_BYTES
            found.update(range(offset // wire.BLOCK_BYTES, last + 1))
    return tuple(sorted(found))
