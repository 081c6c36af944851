# SPDX-License-Identifier: Apache-2.0
# Descriptors, sysfs and proc: written with the names of the system calls.
# ruff: noqa: PTH110, PTH112, PTH116, PTH120, PTH123, PTH208
"""Which disks must not be written: whatever a mount or swap of the bench host rests on.

Standard library only, Python 3.9: this file is sent to the bench host. Reads sysfs and proc,
which needs no root. Sources: Linux's `Documentation/ABI/stable/sysfs-block`,
`Documentation/filesystems/proc.rst` (mountinfo).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from farm.flash.refusal import RefusedError

# Roots that no local disk can be behind.
_DISKLESS = ("nfs", "nfs4", "tmpfs", "ramfs", "rootfs", "9p", "virtiofs", "cifs")


def check_disk(path: str, device: int, *, sys: str = "/sys", proc: str = "/proc") -> None:
    """Refuse a block device that anything of this machine rests on.

    Args:
        path: its name, for the message.
        device: its number, as in `st_rdev`.
        sys, proc: where these file systems are.

    Raises:
        RefusedError: it is a partition, claimed, mounted, swap, or under one of these.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    folder = os.path.realpath(f"{sys}/dev/block/{number}")
    if not os.path.isdir(folder):
        raise RefusedError(f"{path}: the kernel does not know this block device")
    if os.path.exists(f"{folder}/partition"):
        raise RefusedError(f"{path} is a partition; an image is for a whole card")
    for part in (folder, *_partitions(folder)):
        if holders := _names(f"{part}/holders"):
            raise RefusedError(f"{path} is in use: {', '.join(holders)} rests on it")
    root_known = False
    for what, used, root in _uses(proc):
        behind = _behind(used, sys, proc)
        if number in behind:
            raise RefusedError(f"{path} is in use: {what} is on it")
        root_known = root_known or (root and bool(behind))
    if not root_known and not _diskless_root(proc) and not _comes_and_goes(folder):
        raise RefusedError(
            f"{path}: cannot tell whether this is the system's disk (no disk is known behind /), "
            "and it is neither removable nor on USB or an SD slot"
        )


def _uses(proc: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what uses a block device, its number, and whether that is the root."""
    for place, number, _, source in _mounts(proc):
        if number.startswith("0:"):
            number = _number_of(source) or number
        yield f"what is mounted at {place}", number, place == "/"
    try:
        with open(f"{proc}/swaps") as file:
            swaps = [line.split()[0] for line in file.readlines()[1:] if line.strip()]
    except OSError:
        swaps = []
    for swap in swaps:
        if number := _number_of(swap) or "":
            yield f"swap ({swap})", number, False


def _mounts(proc: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield mount point, device number, file system and source of every mount."""
    try:
        with open(f"{proc}/self/mountinfo", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError as error:
        raise RefusedError(f"cannot see what is mounted: {error}") from error
    for line in lines:
        front, _, back = line.partition(" - ")
        words, more = front.split(), back.split()
        if len(words) >= 5 and len(more) >= 2:
            yield _unescape(words[4]), words[2], more[0], _unescape(more[1])


def _behind(number: str, sys: str, proc: str) -> set[str]:
    """Return every block device that `number` rests on, itself included."""
    found: set[str] = set()
    todo = [number]
    while todo:
        number = todo.pop()
        folder = os.path.realpath(f"{sys}/dev/block/{number}")
        if number in found or not os.path.isdir(folder):
            continue
        found.add(number)
        if os.path.exists(f"{folder}/partition"):
            todo.append(_line(f"{os.path.dirname(folder)}/dev"))
        todo += [_line(f"{folder}/slaves/{name}/dev") for name in _names(f"{folder}/slaves")]
        if backing := _line(f"{folder}/loop/backing_file"):
            todo.append(_number_of(backing, proc) or "")
    return found


def _number_of(path: str, proc: str = "/proc") -> str | None:
    """The number of a block device, or of the device that holds a file."""
    if not path.startswith("/"):
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    device = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    if number.startswith("0:"):
        for _, mounted, _, source in _mounts(proc):
            if mounted == number and source.startswith("/dev/") and os.path.exists(source):
                return _number_of(source, proc)
    return number


def _diskless_root(proc: str) -> bool:
    kinds = [kind for place, _, kind, _ in _mounts(proc) if place == "/"]
    return bool(kinds) and kinds[-1] in _DISKLESS


def _comes_and_goes(folder: str) -> bool:
    """Whether sysfs shows the device as removable, or on a bus that cards come on."""
    if _line(f"{folder}/removable") == "1" or os.path.isdir(f"{folder}/loop"):
        return True
    return "/usb" in folder or "/mmc_host" in folder


def _partitions(folder: str) -> Iterator[str]:
    for name in _names(folder):
        if os.path.exists(f"{folder}/{name}/partition"):
            yield f"{folder}/{name}"


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(folder))
    return []


def _line(path: str) -> str:
    with contextlib.suppress(OSError), open(path, errors="surrogateescape") as file:
        return file.read().rstrip("\n")
    return ""


def _unescape(word: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, char)
    return word
