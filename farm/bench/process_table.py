# SPDX-License-Identifier: Apache-2.0
"""What /proc says about processes: who they are, how long they waited. Pure.

Source: proc(5); `schedstat` is documented in the kernel's Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.core.deadline import Deadline

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessInfo:
    """A process of this user.

    Args:
        pid: its number.
        parent: its parent's number.
        started: its start time, in clock ticks since boot; with `pid` it names one process.
        command: what the kernel calls it (15 bytes).
        argv: its command line.
    """

    pid: int
    parent: int
    started: int
    command: str
    argv: tuple[str, ...]


def waited_s(pid: int) -> float:
    """Return the longest time that one of a process' threads spent runnable, not running.

    A kernel without schedstats, or a process that is gone, waited for 0 seconds.
    """
    longest = 0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                told = (task / "schedstat").read_text()
                longest = max(longest, int(told.split()[1]))
    return longest / 1e9


def process(pid: int) -> ProcessInfo | None:
    """Return what is known of one process; None where it is gone or a zombie."""
    folder = _PROC / str(pid)
    try:
        text = (folder / "stat").read_text(errors="replace")
        argv = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    # The command stands in parentheses and may hold anything, parentheses too.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if fields[0] in ("Z", "X"):
        return None
    words = tuple(word.decode(errors="replace") for word in argv.rstrip(b"\0").split(b"\0"))
    return ProcessInfo(
        pid=pid,
        parent=int(fields[1]),
        started=int(fields[19]),
        command=head.partition("(")[2],
        argv=words,
    )


def own_processes() -> Iterator[ProcessInfo]:
    """Yield the processes of this user."""
    uid = os.geteuid()
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            mine = folder.stat().st_uid == uid or _real_uid(folder) == uid
        except OSError:
            continue
        if mine and (found := process(int(folder.name))):
            yield found


def descendants(pids: set[int]) -> tuple[ProcessInfo, ...]:
    """Return the processes of this user below `pids`, parents first."""
    children: dict[int, list[ProcessInfo]] = {}
    for found in own_processes():
        children.setdefault(found.parent, []).append(found)
    below: list[ProcessInfo] = []
    todo = list(pids)
    while todo:
        for child in children.get(todo.pop(), ()):
            below.append(child)
            todo.append(child.pid)
    return tuple(below)


def end_process(target: ProcessInfo, *, patience_s: float) -> bool:
    """End a process by SIGTERM, by SIGKILL after `patience_s`; never another with its number.

    Returns:
        whether it needed SIGKILL.
    """
    try:
        handle = os.pidfd_open(target.pid)
    except OSError:
        return False
    try:
        current = process(target.pid)
        if current is None or current.started != target.started:
            return False
        if patience_s > 0:
            _signal(handle, signal.SIGTERM)
            if _ended(handle, Deadline.after(patience_s)):
                return False
        _signal(handle, signal.SIGKILL)
        _ended(handle, Deadline.after(10))
        return True
    finally:
        os.close(handle)


def users_of_port(port: int) -> tuple[ProcessInfo, ...]:
    """Return the processes of this user that serve or are connected at a local TCP port."""
    inodes = _socket_inodes(port)
    found = []
    for candidate in own_processes() if inodes else ():
        with contextlib.suppress(OSError):
            if any(target in inodes for target in _open_files(candidate.pid)):
                found.append(candidate)
    return tuple(found)


def _open_files(pid: int) -> Iterator[str]:
    for link in (_PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(link.readlink())


def _real_uid(folder: Path) -> int:
    # The folder of a process that made itself undumpable belongs to root.
    for line in (folder / "status").read_text(errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1


def _socket_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _ended(handle: int, deadline: Deadline) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(deadline.left_s * 1000))
