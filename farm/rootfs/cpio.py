# SPDX-License-Identifier: Apache-2.0
"""Writing file trees as cpio archives in the format "newc", which Linux unpacks as initramfs.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst, and
init/initramfs.c for what it does with names, links and folders that exist already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from farm.core.errors import UserError
from farm.oci.tree import Entry, Kind, Slice, Tree

WRITER = 1
"""Version of this writer: raised whenever it makes other bytes out of the same tree."""

TRAILER = "TRAILER!!!"

_TYPE_BITS = {
    Kind.FILE: 0o100000,
    Kind.FOLDER: 0o040000,
    Kind.SYMLINK: 0o120000,
    Kind.CHAR: 0o020000,
    Kind.BLOCK: 0o060000,
    Kind.FIFO: 0o010000,
}
_HEADER_BYTES = 110
_LIMIT = 0xFFFFFFFF
# The kernel skips an entry whose padded name, or whose link, is longer than PATH_MAX.
_MAX_NAME_BYTES = 4091
_CHUNK = 1 << 20


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


def write_cpio(tree: Tree, out: Sink, *, mtime: int) -> None:
    """Write a tree as one cpio archive.

    The bytes depend on the tree and `mtime` alone: entries in the tree's order, inode numbers
    counted from 1, one link each, device number 0.

    Args:
        tree: what to write; parents come before children.
        out: takes the archive's bytes.
        mtime: the time of every entry, in seconds since 1970.

    Raises:
        UserError: a name, link, size or number is beyond what the format or the kernel holds.
    """
    for number, entry in enumerate(tree, start=1):
        data = _data(entry)
        size = entry.size if entry.kind is Kind.FILE else len(data)
        out.write(_header(entry, number, size, mtime))
        if entry.kind is Kind.FILE:
            for piece in _pieces(entry):
                out.write(piece)
        else:
            out.write(data)
        out.write(bytes(-size % 4))
    out.write(_trailer())


def cpio_size(tree: Tree) -> int:
    """Return the size in bytes of what `write_cpio` writes for a tree."""
    total = len(_trailer())
    for entry in tree:
        size = entry.size if entry.kind is Kind.FILE else len(_data(entry))
        total += _padded(_HEADER_BYTES + len(os.fsencode(entry.path)) + 1) + _padded(size)
    return total


def _header(entry: Entry, number: int, size: int, mtime: int) -> bytes:
    name = os.fsencode(entry.path)
    if len(name) > _MAX_NAME_BYTES:
        raise UserError(f"{entry.path[:60]}…: its path is too long for an initramfs")
    if size > _LIMIT:
        raise UserError(
            f"{entry.path}: {size} bytes do not fit into an initramfs (its format ends at 4 GiB)"
        )
    links = 2 if entry.kind is Kind.FOLDER else 1
    mode = _TYPE_BITS[entry.kind] | (entry.mode & 0o7777)
    fields = (number, mode, entry.uid, entry.gid, links, mtime, size, 0, 0, *entry.rdev)
    for value in fields:
        if not 0 <= value <= _LIMIT:
            raise UserError(f"{entry.path}: {value} is beyond what an initramfs can hold")
    return _head(fields, name)


def _trailer() -> bytes:
    return _head((0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0), TRAILER.encode())


def _head(fields: tuple[int, ...], name: bytes) -> bytes:
    numbers = "".join(f"{value:08x}" for value in (*fields, len(name) + 1, 0))
    head = b"070701" + numbers.encode() + name + b"\0"
    return head + bytes(-len(head) % 4)


def _data(entry: Entry) -> bytes:
    if entry.kind is not Kind.SYMLINK:
        return b""
    target = os.fsencode(entry.target)
    if not target or len(target) > _MAX_NAME_BYTES or b"\0" in target:
        raise UserError(f"{entry.path}: its target is not one that a symbolic link can have")
    return target


def _pieces(entry: Entry) -> Iterator[bytes]:
    """Yield a file's bytes without having all of a large one in memory."""
    if isinstance(entry.data, bytes):
        yield entry.data
        return
    lies = entry.data
    for at in range(0, lies.size, _CHUNK):
        yield Slice(lies.path, lies.offset + at, min(_CHUNK, lies.size - at)).read()


def _padded(size: int) -> int:
    return size + -size % 4
