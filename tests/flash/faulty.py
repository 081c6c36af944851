# SPDX-License-Identifier: Apache-2.0
"""A bench host without SSH whose card misbehaves: the real client and helper over pipes.

`python -m tests.flash.faulty MODE [ARGUMENT]` is the helper, with the system calls that reach
the card replaced.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from farm.core.errors import BenchError
from farm.core.run import PIPE, Process, spawn
from farm.core.ssh import SshEndpoint
from farm.flash import helper, wire

_RECORD = struct.Struct("<Qq")  # offset and length; length -1: a flush


class FaultyHost:
    """Stands where `SshConnection` does; its helper runs in mode `mode`."""

    def __init__(self, mode: str, argument: object = "") -> None:
        self.endpoint = SshEndpoint("faulty", "nowhere")
        self._words = (mode, str(argument))

    def data(self, argv: Sequence[str]) -> Process:
        return spawn(
            [sys.executable, "-m", "tests.flash.faulty", *self._words],
            cwd=Path(__file__).parents[2],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )

    def data_error(self, step: str, stderr: bytes) -> BenchError:
        raise AssertionError(stderr)


def read_log(path: Path) -> list[tuple[int, bytes] | None]:
    """What mode `log` wrote: writes in order, None for each flush."""
    found: list[tuple[int, bytes] | None] = []
    with path.open("rb") as file:
        while head := file.read(_RECORD.size):
            offset, length = _RECORD.unpack(head)
            found.append(None if length < 0 else (offset, file.read(length)))
    return found


def _covers(offset: int, buffers: Sequence[memoryview], at: int) -> bool:
    return offset <= at < offset + sum(len(buffer) for buffer in buffers)


def _fail(mode: str, at: int) -> None:
    read, write, flush = os.preadv, os.pwritev, os.fdatasync

    def preadv(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        if mode == "read-error" and _covers(offset, buffers, at):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, buffers, offset)

    def pwritev(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        if _covers(offset, buffers, at):
            if mode == "write-error":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if mode == "full":
                return 0
            if mode == "forget":
                return len(buffers[0])
            if mode == "stuck":
                threading.Event().wait()
            if mode == "flip":
                buffers[0][at - offset] ^= 1
            if mode == "short":
                return write(fd, [buffers[0][: max(4096, len(buffers[0]) // 8192 * 4096)]], offset)
        return write(fd, buffers, offset)

    def fdatasync(fd: int) -> None:
        if mode == "flush-error":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(fd)

    os.preadv, os.pwritev, os.fdatasync = preadv, pwritev, fdatasync  # type: ignore[assignment]


def _log(path: str) -> None:
    log = Path(path).open("wb", 0)  # noqa: SIM115
    write, flush = os.pwritev, os.fdatasync

    def pwritev(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        log.write(_RECORD.pack(offset, len(data)) + data)
        return write(fd, buffers, offset)

    def fdatasync(fd: int) -> None:
        log.write(_RECORD.pack(0, -1))
        flush(fd)

    os.pwritev, os.fdatasync = pwritev, fdatasync  # type: ignore[assignment]


def main(mode: str, argument: str) -> None:
    """Run the helper in a mode."""
    source = sys.stdin.buffer
    source.read(int(source.readline()))  # the helper's own source, as the bootstrap reads it
    if mode == "log":
        _log(argument)
    elif mode == "silence":
        wire.SILENCE_S = float(argument)
    elif mode:
        helper._STUCK_S = 0.5
        _fail(mode, int(argument or 0))
    helper.main(source)


if __name__ == "__main__":
    main(*sys.argv[1:])
