# SPDX-License-Identifier: Apache-2.0
"""Tar archives: one writer whose bytes depend on its input alone, one reader that trusts nothing.

Python's own module is not used: its bytes change between Python versions, it takes a cut archive
for a whole one, and it holds extended headers of any size in memory.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar's manual,
"Basic Tar Format" (long names of type L and K, numbers in base 256).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from farm.core.errors import BuildError
from farm.oci.tree import Entry, Kind, Slice

BLOCK = 512
_CHUNK = 1 << 20
# Room for any path that Linux takes, many times over.
_MAX_EXTENDED_BYTES = 1 << 20
_MAX_OCTAL_ID = 0o7777777
_MAX_OCTAL_SIZE = 0o77777777777

_TYPE_FLAGS = {
    Kind.FILE: b"0",
    Kind.SYMLINK: b"2",
    Kind.CHAR: b"3",
    Kind.BLOCK: b"4",
    Kind.FOLDER: b"5",
    Kind.FIFO: b"6",
}
_KINDS = {flag: kind for kind, flag in _TYPE_FLAGS.items()} | {b"\0": Kind.FILE, b"7": Kind.FILE}
_HARD_LINK = b"1"


class Sink(Protocol):
    """What an archive is written to: any binary file, or something that counts and hashes."""

    def write(self, data: bytes, /) -> int:
        """Take all of the bytes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive, as it is written there: nothing about it has been checked.

    Args:
        path: its name, undecodable bytes as surrogate escapes.
        kind: what it is; None for a hard link.
        mode: permission bits.
        uid: owner.
        gid: group.
        link: target of a symbolic or hard link.
        rdev: major and minor number of a device.
        offset: where its data begins, in bytes from the file's beginning.
        size: bytes of data.
    """

    path: str
    kind: Kind | None
    mode: int
    uid: int
    gid: int
    link: str
    rdev: tuple[int, int]
    offset: int
    size: int


# --- writing ------------------------------------------------------------------------------------


def write_entry(entry: Entry, time: int, file: Sink) -> None:
    """Write one entry, header and data.

    Args:
        entry: what is written.
        time: its modification time, in seconds since 1970.
        file: where it goes.

    Raises:
        BuildError: its data cannot be read.
    """
    name = os.fsencode(entry.path) + (b"/" if entry.kind is Kind.FOLDER else b"")
    link = os.fsencode(entry.target) if entry.kind is Kind.SYMLINK else b""
    size = entry.size if entry.kind is Kind.FILE else 0
    records = b""
    split = _split_name(name)
    if split is None:
        records += _record(b"path", name)
        split = b"", name[:100]
    if len(link) > 100:
        records += _record(b"linkpath", link)
    for key, value, most in (
        (b"uid", entry.uid, _MAX_OCTAL_ID),
        (b"gid", entry.gid, _MAX_OCTAL_ID),
        (b"size", size, _MAX_OCTAL_SIZE),
    ):
        if value > most:
            records += _record(key, b"%d" % value)
    if records:
        header = _header(b"", b"pax_header", b"x", 0o644, 0, 0, len(records), time, b"", (0, 0))
        file.write(header + _padded(records))
    file.write(
        _header(
            *split,
            _TYPE_FLAGS[entry.kind],
            entry.mode & 0o7777,
            min(entry.uid, _MAX_OCTAL_ID),
            min(entry.gid, _MAX_OCTAL_ID),
            min(size, _MAX_OCTAL_SIZE),
            time,
            link[:100],
            entry.rdev if entry.kind in (Kind.CHAR, Kind.BLOCK) else (0, 0),
        )
    )
    if size:
        copy_data(entry, file)
        file.write(bytes(-size % BLOCK))


def write_end(file: Sink) -> None:
    """Write the archive's end mark."""
    file.write(bytes(2 * BLOCK))


def copy_data(entry: Entry, file: Sink) -> None:
    """Write a file entry's data, in pieces.

    Raises:
        BuildError: it cannot be read.
    """
    data = entry.data
    if isinstance(data, bytes):
        file.write(data)
        return
    for begin in range(0, data.size, _CHUNK):
        piece = Slice(data.path, data.offset + begin, min(_CHUNK, data.size - begin))
        file.write(piece.read())


def _split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Split a name into ustar's prefix and name, or return None where it does not fit."""
    if len(name) <= 100:
        return b"", name
    # The last slash may end the name of a folder: it is no place to split.
    cut = name.find(b"/", max(0, len(name) - 101), len(name) - 1)
    if cut <= 0 or cut > 155:
        return None
    return name[:cut], name[cut + 1 :]


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _header(
    prefix: bytes,
    name: bytes,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    time: int,
    link: bytes,
    rdev: tuple[int, int],
) -> bytes:
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, time),
            b" " * 8,
            flag,
            link.ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0%07o\0" % rdev,
            prefix.ljust(155, b"\0"),
        )
    ).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


# --- reading ------------------------------------------------------------------------------------


def read_members(path: Path, *, name: str) -> Iterator[Member]:
    """Read an uncompressed archive's members, in its order; data is left where it is.

    Args:
        path: the archive.
        name: what messages call it.

    Raises:
        BuildError: it is no tar archive, damaged or cut off; the message says where.
    """
    with path.open("rb") as file:
        yield from _Reader(file, os.fstat(file.fileno()).st_size, name).members()


class _Reader:
    def __init__(self, file: BinaryIO, total: int, name: str) -> None:
        self._file = file
        self._total = total
        self._name = name
        self._at = 0
        self._global: dict[bytes, bytes] = {}

    def members(self) -> Iterator[Member]:
        extended: dict[bytes, bytes] = {}
        while (header := self._block()).count(0) != BLOCK:
            self._check_sum(header)
            flag = header[156:157]
            if flag in (b"x", b"g", b"L", b"K"):
                data = self._extended(self._number(header[124:136]))
                if flag == b"g":
                    self._global |= self._records(data)
                elif flag == b"x":
                    extended |= self._records(data)
                else:
                    key = b"path" if flag == b"L" else b"linkpath"
                    extended[key] = data.rstrip(b"\0")
                continue
            member = self._member(header, self._global | extended)
            extended = {}
            yield member
            self._at = member.offset + member.size + (-member.size % BLOCK)

    def _member(self, header: bytes, extended: dict[bytes, bytes]) -> Member:
        flag = header[156:157]
        raw = header[:100].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and (prefix := header[345:500].partition(b"\0")[0]):
            raw = prefix + b"/" + raw
        raw = extended.get(b"path", raw)
        path = os.fsdecode(raw)
        if any(key.startswith(b"GNU.sparse.") for key in extended) or flag == b"S":
            raise self._error(f"{path}: a sparse file, which farm does not read")
        if flag not in _KINDS and flag != _HARD_LINK:
            raise self._error(f"{path}: a member of unknown type {flag!r}")
        kind = _KINDS.get(flag)
        if flag == b"\0" and raw.endswith(b"/"):
            kind = Kind.FOLDER
        size = self._decimal(extended, b"size", self._number(header[124:136]))
        if kind is not Kind.FILE:
            size = 0
        if self._at + size > self._total:
            raise self._error(f"{path}: cut off: {size} bytes of data are announced")
        rdev = (0, 0)
        if kind in (Kind.CHAR, Kind.BLOCK):
            rdev = self._number(header[329:337]), self._number(header[337:345])
        link = extended.get(b"linkpath", header[157:257].partition(b"\0")[0])
        return Member(
            path=path,
            kind=kind,
            mode=self._number(header[100:108]) & 0o7777,
            uid=self._decimal(extended, b"uid", self._number(header[108:116])),
            gid=self._decimal(extended, b"gid", self._number(header[116:124])),
            link=os.fsdecode(link),
            rdev=rdev,
            offset=self._at,
            size=size,
        )

    def _block(self) -> bytes:
        self._file.seek(self._at)
        block = self._file.read(BLOCK)
        if len(block) != BLOCK:
            raise self._error("not a tar archive, or cut off: it has no end mark")
        self._at += BLOCK
        return block

    def _extended(self, size: int) -> bytes:
        if size > _MAX_EXTENDED_BYTES:
            raise self._error(f"an extended header of {size} bytes")
        data = self._file.read(size)
        if len(data) != size:
            raise self._error("cut off inside an extended header")
        self._at += size + (-size % BLOCK)
        return data

    def _records(self, data: bytes) -> dict[bytes, bytes]:
        records = {}
        at = 0
        while at < len(data) and data[at] != 0:
            length, _, _ = data[at : at + 12].partition(b" ")
            if not length.isdigit() or not 0 < int(length) <= len(data) - at:
                raise self._error("a damaged extended header")
            key, mark, value = data[at + len(length) + 1 : at + int(length)].partition(b"=")
            if not mark or not value.endswith(b"\n"):
                raise self._error("a damaged extended header")
            records[key] = value[:-1]
            at += int(length)
        return records

    def _number(self, field: bytes) -> int:
        if field[0] & 0x80:
            # Base 256; a negative number has no meaning in any field.
            if field[0] != 0x80:
                raise self._error("a number that is negative or out of range")
            return int.from_bytes(field[1:], "big")
        digits = field.partition(b"\0")[0].strip()
        if not digits:
            return 0
        try:
            return int(digits, 8) if digits.isdigit() else self._bad_number(field)
        except ValueError:
            return self._bad_number(field)

    def _bad_number(self, field: bytes) -> int:
        raise self._error(f"{field!r} in the place of a number")

    def _decimal(self, extended: dict[bytes, bytes], key: bytes, default: int) -> int:
        value = extended.get(key)
        if value is None:
            return default
        if not value.isdigit() or len(value) > 20:
            raise self._error(f"{value[:20]!r} in the place of a number")
        return int(value)

    def _check_sum(self, header: bytes) -> None:
        plain = header[:148] + b" " * 8 + header[156:]
        signed = sum(plain) - 256 * sum(byte > 127 for byte in plain)
        if self._number(header[148:156]) not in (sum(plain), signed):
            raise self._error("not a tar archive, or damaged: a header's checksum is wrong")

    def _error(self, what: str) -> BuildError:
        return BuildError(f"{self._name}: at byte {max(0, self._at - BLOCK)}: {what}")
