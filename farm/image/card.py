# SPDX-License-Identifier: Apache-2.0
"""The SD image: a partition table and one FAT32 partition, written without root or loop devices.

Nothing in the image depends on the time, the machine or an image before. What is not an extent
(free clusters, the rest of a slot behind a file's end) is a hole in the image and no matter on
the card.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farm.core.copying import copy_range, write_at
from farm.core.errors import BuildError
from farm.core.files import replacing, write_bytes
from farm.image.bmap import bmap_xml
from farm.image.fat32 import MAX_DATA
from farm.image.plan import CardPlan, Span
from farm.oci.tree import epoch


@dataclass(frozen=True)
class CardFile:
    """A file of the boot partition.

    Args:
        path: from the partition's root, with slashes and without one at the beginning.
        slots: its parts, bytes or files of the disk. One part is the file as it is. Of several,
            each is filled up with zeros to the end of its slot, the last one too; so a part that
            changes within its slot changes nothing else on the card.
    """

    path: str
    slots: tuple[bytes | Path, ...]


@dataclass(frozen=True)
class CardImage:
    """A written image.

    Args:
        digest: `sha256:` of the text that lists the image's size and each extent's offset, size
            and SHA-256, a line each: two images with the same digest have the same bytes
            wherever bytes matter.
        extents: (offset, size) in bytes of what matters, in order, in multiples of 4 KiB.
    """

    path: Path
    size_bytes: int
    digest: str
    extents: tuple[tuple[int, int], ...]


def write_card(out: Path, files: Sequence[CardFile], *, label: str, key: str) -> CardImage:
    """Write an image and its block map (`OUT.bmap`).

    Args:
        out: the image; replaced whole or not at all.
        files: what is on it, in this order; folders are made as needed.
        label: the volume's label, at most 11 characters.
        key: what the ids of disk and volume are made from; the same key, the same ids.

    Raises:
        UserError: a name cannot be on a FAT volume.
        BuildError: a part is gone, the files are too large, the disk is full.
    """
    sizes = [[_size(part) for part in file.slots] for file in files]
    ids = hashlib.sha256(f"farm card {key}".encode()).digest()
    try:
        plan = CardPlan(
            [file.path for file in files],
            sizes,
            disk_id=int.from_bytes(ids[:4], "little"),
            volume_id=int.from_bytes(ids[4:8], "little"),
            label=_label(label),
        )
    except ValueError as error:
        raise BuildError(
            f"{out}: {error}", hint=f"a boot partition has at most {MAX_DATA // 1024**2} MiB"
        ) from error
    extents = plan.extents()
    block_map = out.with_name(f"{out.name}.bmap")
    remove_old(block_map)
    with replacing(out) as opened:
        fd = opened.fileno()
        os.ftruncate(fd, plan.image_bytes)
        for offset, data in plan.own_bytes(epoch()):
            write_at(fd, data, offset)
        for file, item, parts in zip(files, plan.files, sizes, strict=True):
            for part, offset, size in zip(file.slots, item.starts, parts, strict=True):
                _put(fd, part, offset, size)
        digests = _digests(fd, extents)
    ranges = [(*extent, digest) for extent, digest in zip(extents, digests, strict=True)]
    write_bytes(block_map, bmap_xml(plan.image_bytes, ranges))
    return CardImage(out, plan.image_bytes, card_digest(plan.image_bytes, ranges), extents)


def remove_old(beside: Path) -> None:
    """Remove what was written about an image before: it must never stand beside a new one.

    Raises:
        BuildError: the folder cannot be written.
    """
    try:
        beside.unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(f"{beside}: cannot be removed: {error.strerror}") from error


def card_digest(size_bytes: int, ranges: Iterable[tuple[int, int, str]]) -> str:
    """Return the digest of an image (`CardImage.digest`).

    Args:
        size_bytes: of the image.
        ranges: offset, size and hex SHA-256 of each extent, in order; a block map has them.
    """
    listing = "".join(f"{offset} {size} {digest}\n" for offset, size, digest in ranges)
    whole = hashlib.sha256(f"farm card image, {size_bytes} bytes\n{listing}".encode())
    return f"sha256:{whole.hexdigest()}"


def _label(text: str) -> bytes:
    kept = "".join(c for c in text.upper() if c.isascii() and (c.isalnum() or c in " _-"))
    return kept[:11].encode("ascii").ljust(11)


def _size(part: bytes | Path) -> int:
    if isinstance(part, bytes):
        return len(part)
    try:
        return part.stat().st_size
    except OSError as error:
        raise BuildError(f"{part}: {error.strerror}") from error


def _put(fd: int, part: bytes | Path, offset: int, size: int) -> None:
    if isinstance(part, bytes):
        write_at(fd, part, offset)
        return
    try:
        source = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BuildError(f"{part}: {error.strerror}") from error
    try:
        if copy_range(source, fd, 0, offset, size) < size:
            raise BuildError(f"{part}: shorter than it was")
    finally:
        os.close(source)


def _digests(fd: int, extents: Sequence[Span]) -> list[str]:
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as whole, memoryview(whole) as view:

        def digest(extent: Span) -> str:
            offset, size = extent
            with view[offset : offset + size] as part:
                return hashlib.sha256(part).hexdigest()

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(digest, extents))
