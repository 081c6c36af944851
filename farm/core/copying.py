# SPDX-License-Identifier: Apache-2.0
"""Copying parts of files inside the kernel where the disk can do that, and leaving holes holes."""

from __future__ import annotations

import errno
import os

_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""What copy_file_range(2) says where it cannot: other file systems, an old kernel, a filter."""

_CHUNK = 1 << 20


def copy_range(source: int, target: int, at: int, to: int, size: int) -> int:
    """Copy bytes of a file into another.

    Args:
        source: a file's descriptor, open for reading.
        target: another's, open for writing.
        at: where the bytes begin in the source.
        to: where they go in the target.
        size: how many they are.

    Returns:
        how many were copied: fewer than `size` where the source ends.

    Raises:
        OSError: one of them cannot be read or written.
    """
    done = 0
    while done < size:
        count = _copy_some(source, target, at + done, to + done, size - done)
        if count == 0:
            break
        done += count
    return done


def data_extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Return (offset, size) of everything in a file that is no hole.

    Where the file system cannot tell, that is the whole file.

    Args:
        fd: the file's descriptor.
        size: of the file, in bytes.

    Raises:
        OSError: the file cannot be read.
    """
    extents = []
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                break
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return [(0, size)]
            raise
        extents.append((begin, min(at, size) - begin))
    return extents


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at a place of a file."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def _copy_some(source: int, target: int, at: int, to: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, at, to)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    data = os.pread(source, min(size, _CHUNK), at)
    write_at(target, data, to)
    return len(data)
