# SPDX-License-Identifier: Apache-2.0
"""Reading block maps (bmap 2.0): XML that says which blocks of an image hold something.

Source: https://github.com/yoctoproject/bmaptool, `docs` and `BmapCreate.py`. The reader takes
any file for hostile: bounded size and number of ranges, no document type, no entities.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from farm.core.errors import UserError

_MAX_BYTES = 32 << 20
_MAX_RANGES = 1 << 20
_MAX_IMAGE = 1 << 44
_NUMBERS = ("ImageSize", "BlockSize", "BlocksCount", "MappedBlocksCount")
_KNOWN = {*_NUMBERS, "ChecksumType", "BmapFileChecksum", "Range"}
_RANGE = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?", re.ASCII)


@dataclass(frozen=True)
class Bmap:
    """A block map.

    Args:
        size_bytes: of the image.
        extents: (offset, size) in bytes, ascending, not overlapping.
        checksums: SHA-256 in hex of each extent, or None where the map has none.
    """

    size_bytes: int
    extents: tuple[tuple[int, int], ...]
    checksums: tuple[str | None, ...]


def read_bmap(path: Path) -> Bmap:
    """Read a block map.

    Raises:
        UserError: it cannot be read, is damaged, or is of another version than 2.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_bmap(data, str(path))


def parse_bmap(data: bytes, name: str) -> Bmap:
    """Read a block map's bytes; `name` is for messages.

    Raises:
        UserError: as `read_bmap`.
    """
    if len(data) > _MAX_BYTES:
        raise UserError(f"{name}: more than {_MAX_BYTES >> 20} MiB: no block map")
    reader = _Reader()
    try:
        reader.read(data)
        return reader.finish(data)
    except (expat.ExpatError, ValueError) as error:
        raise UserError(
            f"{name}: damaged block map: {error}", hint="remove it, or build the image again"
        ) from error


def check_bmap(image: Path, bmap: Bmap, bmap_file: Path) -> None:
    """Check an image against its block map's size and checksums.

    Raises:
        UserError: the map is another image's.
    """
    hint = f"remove {bmap_file}, or build the image again"
    try:
        with image.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != bmap.size_bytes:
                raise UserError(
                    f"{bmap_file}: is for an image of {bmap.size_bytes} bytes, {image} has {size}",
                    hint=hint,
                )
            for (offset, length), checksum in zip(bmap.extents, bmap.checksums, strict=True):
                if checksum and _sha256(file.fileno(), offset, length) != checksum:
                    raise UserError(
                        f"{image}: bytes {offset} to {offset + length} are not those that "
                        f"{bmap_file} was made for",
                        hint=hint,
                    )
    except OSError as error:
        raise UserError(f"{image}: cannot be read: {error.strerror}") from error


class _Reader:
    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._forbidden
        self._parser.EntityDeclHandler = self._forbidden
        self._depth = 0
        self._open: str | None = None
        self._words: list[str] = []
        self._checksum: str | None = None
        self._values: dict[str, str] = {}
        self._ranges: list[tuple[int, int, str | None]] = []

    def read(self, data: bytes) -> None:
        self._parser.Parse(data, True)

    def finish(self, data: bytes) -> Bmap:
        numbers = {}
        for name in _NUMBERS:
            word = self._values.get(name, "")
            if not word.isascii() or not word.isdigit() or len(word) > 14:
                raise ValueError(f"{name} is {word[:40]!r}, not a number")
            numbers[name] = int(word)
        size, block = numbers["ImageSize"], numbers["BlockSize"]
        if not 512 <= block <= 1 << 26 or size > _MAX_IMAGE:
            raise ValueError(f"a block size of {block} or an image size of {size} cannot be")
        if numbers["BlocksCount"] != -(-size // block):
            raise ValueError("BlocksCount does not fit ImageSize")
        self._check_self(data)
        extents: list[tuple[int, int]] = []
        end = total = 0
        for first, last, _ in self._ranges:
            if not end <= first <= last < numbers["BlocksCount"]:
                raise ValueError(f"the range {first}-{last} is out of order or of the image")
            end = last + 1
            total += end - first
            extents.append((first * block, min(end * block, size) - first * block))
        if total != numbers["MappedBlocksCount"]:
            raise ValueError("MappedBlocksCount does not fit the ranges")
        sha256 = self._values.get("ChecksumType", "").lower() == "sha256"
        checksums = tuple(checksum if sha256 else None for _, _, checksum in self._ranges)
        return Bmap(size, tuple(extents), checksums)

    def _check_self(self, data: bytes) -> None:
        """The map's own checksum is over its bytes with the checksum's digits all 0."""
        own = self._values.get("BmapFileChecksum")
        if own is None or self._values.get("ChecksumType", "").lower() != "sha256":
            return
        blank = data.replace(own.encode(), b"0" * len(own), 1)
        if not own or hashlib.sha256(blank).hexdigest() != own:
            raise ValueError("its own checksum does not fit")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > 16:
            raise ValueError("too deep")
        if self._depth == 1:
            version = attributes.get("version", "")
            if name != "bmap" or version.split(".")[0] != "2":
                raise ValueError(f"{name} version {version[:20]!r}: only bmap 2 is read")
        self._open = name if name in _KNOWN else None
        self._words = []
        self._checksum = attributes.get("chksum") if name == "Range" else None

    def _text(self, text: str) -> None:
        if self._open is not None:
            self._words.append(text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._open != name:
            return
        self._open = None
        text = "".join(self._words).strip()
        if name != "Range":
            self._values[name] = text
            return
        found = _RANGE.fullmatch(text)
        if found is None or len(self._ranges) >= _MAX_RANGES:
            raise ValueError(f"a range {text[:40]!r}, or too many")
        first = int(found[1])
        self._ranges.append((first, int(found[2] or first), self._checksum))

    def _forbidden(self, *_: object) -> None:
        raise ValueError("document types and entities have no place here")


def _sha256(fd: int, offset: int, length: int) -> str:
    found = hashlib.sha256()
    while length:
        part = os.pread(fd, min(length, 1 << 20), offset)
        if not part:
            break
        found.update(part)
        offset += len(part)
        length -= len(part)
    return found.hexdigest()
