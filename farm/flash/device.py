# SPDX-License-Identifier: Apache-2.0
# Descriptors, sysfs and proc: written with the names of the system calls.
# ruff: noqa: PTH112, PTH116, PTH123, PTH208
"""A card as the helper sees it: which one must not be written, and reading past the cache.

Standard library only, Python 3.9: this file is sent to the bench host. Sources: Linux's
`include/uapi/linux/fs.h` (ioctls), `Documentation/filesystems/proc.rst` (mountinfo), open(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
import threading
import time
from collections.abc import Iterator

from farm.flash.disks import check_disk
from farm.flash.refusal import CardError, RefusedError
from farm.flash.wire import BLOCK_BYTES, SECTOR_BYTES

RUN_BYTES = 1 << 20
_PAGE = 4096
_BLKROGET, _BLKRRPART = 0x125E, 0x125F
_BLKGETSIZE64, _BLKGETDISKSEQ = 0x80081272, 0x80081280


class Card:
    """An open card: a block device held exclusively, or a plain file under a lock.

    Reading and writing are positional; each thread gives a buffer of its own.
    """

    def __init__(self, path: str, need_bytes: int) -> None:
        """Check, open and lock the card at `path`.

        Raises:
            RefusedError: it must not be written, or is no card, or has no room.
        """
        self.path = path
        self.direct = True
        self._busy: dict[int, tuple[float, str]] = {}
        _check_path(path)
        real = os.path.realpath(path) if path.startswith("/dev/") else path
        try:
            status = os.lstat(real)
        except OSError as error:
            raise _no_card(path, error) from error
        self.is_block = stat.S_ISBLK(status.st_mode)
        if self.is_block:
            check_disk(real, status.st_rdev)
        elif not stat.S_ISREG(status.st_mode):
            raise RefusedError(f"{path} is neither a block device nor a plain file")
        else:
            _check_file(path, status)
        self._fd = self._open(real)
        try:
            self._identity = self._identify()
            if self._identity[:2] != _identity_of(status):
                raise RefusedError(f"{path} was exchanged while it was being checked")
            self._lock()
            self._check_size(need_bytes)
            # The end of an image may be no multiple of what O_DIRECT asks for.
            self._plain = os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)
            self._probe()
        except BaseException:
            os.close(self._fd)
            raise

    def read(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` (page-aligned) from the card itself, not from the page cache."""
        with self._io(offset, len(buffer), "read"):
            direct = self._aligned(offset, buffer)
            if not direct:
                # A page that is asked for in part would stay in the cache.
                whole = -(-len(buffer) // _PAGE) * _PAGE
                os.posix_fadvise(self._plain, offset, whole, os.POSIX_FADV_DONTNEED)
            fd = self._fd if direct else self._plain
            done = 0
            while done < len(buffer):
                got = os.preadv(fd, [buffer[done:]], offset + done)
                if got == 0:
                    raise OSError(errno.EIO, "the card ends there")
                done += got

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write `buffer` (page-aligned); it is on the card after `sync`."""
        with self._io(offset, len(buffer), "write"):
            fd = self._fd if self._aligned(offset, buffer) else self._plain
            done = 0
            while done < len(buffer):
                wrote = os.pwritev(fd, [buffer[done:]], offset + done)
                if wrote == 0:
                    raise OSError(errno.ENOSPC, "the card ends there")
                done += wrote

    def write_first_sector(self, sector: bytes) -> None:
        """Replace the first sector and flush it.

        The page around it is written with what it holds already: a power cut within this
        write leaves the old sector or the new one, and everything else as it was.
        """
        view = memoryview(mmap.mmap(-1, _PAGE))[: self.size_bytes]
        self.read(0, view)
        view[:SECTOR_BYTES] = sector
        self.write(0, view)
        self.sync()

    def sync(self) -> None:
        """Flush what was written, data and what is needed to find it."""
        with self._io(0, 0, "flush"):
            os.fdatasync(self._fd)

    def check_same(self) -> None:
        """Raise RefusedError where the card is not the one that was opened."""
        if self._identify() != self._identity:
            raise CardError("the card was exchanged during the flash")
        if not self.is_block:
            try:
                now = _identity_of(os.lstat(self.path))
            except OSError as error:
                raise CardError(
                    f"the card went away during the flash ({error.strerror})"
                ) from error
            if now != self._identity[:2]:
                raise CardError("the card was exchanged during the flash")

    def stuck_s(self) -> tuple[float, str]:
        """How long the oldest operation under way has lasted, and what it is."""
        began, what = min(self._busy.copy().values(), default=(time.monotonic(), ""))
        return time.monotonic() - began, what

    def close(self) -> None:
        """Flush everything, let the kernel read the new partition table, and unlock."""
        with self._io(0, 0, "flush"):
            os.fsync(self._fd)
        if self.is_block:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, _BLKRRPART)
        os.close(self._plain)
        os.close(self._fd)

    def _open(self, real: str) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        if self.is_block:
            # Exclusive for the whole flash: refuses what is mounted, also in another mount
            # namespace, and keeps anybody from mounting it.
            flags |= os.O_EXCL
        try:
            try:
                return os.open(real, flags | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL or self.is_block:
                    raise
                self.direct = False
                return os.open(real, flags)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise RefusedError(
                    f"{self.path} is in use: mounted (perhaps in another namespace), swap, "
                    "part of a volume, or being flashed"
                ) from error
            if error.errno == errno.EROFS:
                raise RefusedError(f"{self.path} is read-only") from error
            if error.errno in (errno.ENOMEDIUM, errno.ENXIO):
                raise RefusedError(f"{self.path}: no card in the reader") from error
            raise _no_card(self.path, error) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.is_block:
                # QEMU locks bytes of an image that it has open; this lock meets those.
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RefusedError(
                f"{self.path} is in use: another flash or a running board holds its lock"
            ) from error

    def _check_size(self, need_bytes: int) -> None:
        if self.is_block:
            buffer = bytearray(8)
            fcntl.ioctl(self._fd, _BLKGETSIZE64, buffer)
            self.size_bytes = struct.unpack("Q", buffer)[0]
            buffer = bytearray(4)
            fcntl.ioctl(self._fd, _BLKROGET, buffer)
            if any(buffer):
                raise RefusedError(f"{self.path} is read-only (is the card's slider locked?)")
        else:
            self.size_bytes = os.fstat(self._fd).st_size
        if self.size_bytes == 0:
            raise RefusedError(f"{self.path}: no card in the reader (its size is 0)")
        if self.size_bytes < need_bytes:
            raise RefusedError(
                f"{self.path} is too small: {self.size_bytes} bytes, the image has {need_bytes}"
            )

    def _probe(self) -> None:
        """See whether O_DIRECT works: some file systems say so only when reading."""
        if self.direct and not self.is_block:
            try:
                os.preadv(self._fd, [memoryview(mmap.mmap(-1, BLOCK_BYTES))], 0)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise CardError(f"read at byte 0: {error.strerror}") from error
                self.direct = False
        if not self.direct:
            self.sync()

    def _identify(self) -> tuple[int, int, int]:
        kind, number = _identity_of(os.fstat(self._fd))
        sequence = 0
        if self.is_block:
            buffer = bytearray(8)
            # Linux before 5.15 has no such ioctl.
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, _BLKGETDISKSEQ, buffer)
            sequence = struct.unpack("Q", buffer)[0]
        return kind, number, sequence

    def _aligned(self, offset: int, buffer: memoryview) -> bool:
        return self.direct and offset % _PAGE == 0 and len(buffer) % _PAGE == 0

    @contextlib.contextmanager
    def _io(self, offset: int, length: int, verb: str) -> Iterator[None]:
        thread = threading.get_ident()
        where = f" at byte {offset} ({length} bytes)" if length else ""
        self._busy[thread] = (time.monotonic(), verb + where)
        try:
            yield
        except OSError as error:
            raise CardError(f"{verb}{where}: {error.strerror or error}") from error
        finally:
            self._busy.pop(thread, None)


def _check_path(path: str) -> None:
    if not path.startswith("/") or os.path.normpath(path) != path or "\0" in path:
        raise RefusedError(f"{path!r} is no plain absolute path")


def _check_file(path: str, status: os.stat_result) -> None:
    """Refuse a plain file that something else is built on."""
    real = os.path.realpath(path)
    with contextlib.suppress(OSError), open("/proc/swaps") as swaps:
        if any(line.split()[:2] == [real, "file"] for line in swaps):
            raise RefusedError(f"{path} is swap")
    for name in os.listdir("/sys/block") if os.path.isdir("/sys/block") else ():
        try:
            with open(f"/sys/block/{name}/loop/backing_file") as file:
                backing = os.stat(file.read().rstrip("\n"))
        except OSError:
            continue
        if (backing.st_dev, backing.st_ino) == (status.st_dev, status.st_ino):
            raise RefusedError(f"{path} is in use: it is attached as /dev/{name}")


def _identity_of(status: os.stat_result) -> tuple[int, int]:
    if stat.S_ISBLK(status.st_mode):
        return -1, status.st_rdev
    return status.st_dev, status.st_ino


def _no_card(path: str, error: OSError) -> RefusedError:
    if error.errno == errno.ENOENT:
        return RefusedError(f"{path} does not exist: no card, or the board has it")
    if error.errno == errno.ELOOP:
        return RefusedError(f"{path} is a symbolic link")
    if error.errno in (errno.EACCES, errno.EPERM):
        return RefusedError(f"{path}: this account may not write it")
    return RefusedError(f"{path}: {error.strerror}")
