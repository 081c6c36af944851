# SPDX-License-Identifier: Apache-2.0
"""An image that somebody names, in place of an assembly: is its record its own?"""

from __future__ import annotations

from pathlib import Path

from farm.build.record import BuildRecord, read_record, record_path
from farm.core.errors import UserError
from farm.flash.bmap import check_bmap, read_bmap
from farm.image.card import card_digest


def given_record(image: Path) -> BuildRecord | None:
    """Return the record beside an image, or None where there is none.

    A boot is judged by what the record promises, so the record must be that of these bytes: its
    digest is that of the block map, whose checksums are those of the image.

    Raises:
        UserError: the record or the block map is damaged, absent or another image's.
    """
    path = record_path(image)
    if not path.exists():
        return None
    record = read_record(image)
    hint = f"copy image, block map and record together, or remove {path}"
    block_map = image.with_name(f"{image.name}.bmap")
    if not block_map.exists():
        raise UserError(
            f"{image}: without its block map, {block_map.name}, it cannot be told whether "
            f"{path.name} is its record",
            hint=hint,
        )
    bmap = read_bmap(block_map)
    ranges = [
        (*extent, checksum or "")
        for extent, checksum in zip(bmap.extents, bmap.checksums, strict=True)
    ]
    if card_digest(bmap.size_bytes, ranges) != record.digest:
        raise UserError(f"{path}: is the record of another image than {image}", hint=hint)
    check_bmap(image, bmap, block_map)
    return record
