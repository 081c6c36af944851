# SPDX-License-Identifier: Apache-2.0
"""From power to the boot's end, against the same kernel and initramfs with the least of inits.

Counted in guest instructions: with `-icount shift=0,sleep=off` the guest's clock goes forward by
a nanosecond an instruction, and where nothing is to be done it jumps to the next timer. So no
load of this machine is in the figures.
"""

from __future__ import annotations

import gzip
import io
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.marker import MARK, marker_program
from benchmarks.measure import Result, Samples
from farm.build import build
from farm.core.errors import CheckError
from farm.core.progress import SilentReporter
from farm.core.run import PIPE, spawn
from farm.debian import ArchiveSettings
from farm.firmware.boot import boot_card
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, make_tree
from farm.rootfs.cpio import write_cpio
from farm.smoke.timeline import Event, parse_line
from farm.spec.project import Project, builtin_folder

BOARD = "qemu-arm64"
COUNT = 5
GOAL_RATIO = 1.05
GOAL_A_CONTAINER = 0.07
_LIMIT_S = 300


@dataclass(frozen=True)
class Boot:
    """One boot to `complete`, by its timeline."""

    events: tuple[Event, ...]

    @property
    def complete_s(self) -> float:
        return next(event.time_s for event in self.events if event.name == "complete")

    @property
    def containers(self) -> int:
        return sum(event.name in ("onboot-begin", "service-begin") for event in self.events)


def power(scratch: Path) -> list[Result]:
    """Boot the reference assembly and the marker, `COUNT` times each.

    Args:
        scratch: an empty folder.

    Raises:
        CheckError: a boot did not come to its end.
    """
    machine = _Machine(_impatient_project(scratch), scratch)
    boots, marks, networked = [], [], []
    for _ in range(COUNT):
        boots.append(machine.boot())
        marks.append(machine.marker_s())
        networked.append(machine.boot(network=True))
    return [_result(boots, marks, networked)]


def _impatient_project(folder: Path) -> Project:
    """A project whose board does not wait for a network card, so that there is nothing to exclude.

    Measuring the wait and taking it off would hide what the kernel does in the meantime.
    """
    text = (builtin_folder() / "boards" / f"{BOARD}.yml").read_text()
    text, count = re.subn(r"(?m)^network_wait_s:.*$", "network_wait_s: 0", text)
    if count != 1:
        raise CheckError(f"boards/{BOARD}.yml: has no network_wait_s to be measured without")
    (folder / "boards").mkdir()
    (folder / "boards" / f"{BOARD}.yml").write_text(text)
    return Project.find(folder)


def marker_segment() -> bytes:
    """Return an initramfs that has `/farm-marker` alone; gzip, as every kernel unpacks it."""
    out = io.BytesIO()
    program = Entry("farm-marker", Kind.FILE, 0o755, data=marker_program())
    write_cpio(make_tree([program]), out, mtime=0)
    return gzip.compress(out.getvalue(), mtime=0)


def _result(boots: list[Boot], marks: list[float], networked: list[Boot]) -> Result:
    whole = Samples("power to complete", _completes(boots))
    mark = Samples("power to the marker", tuple(marks))
    more = Samples("power to complete, with a network card", _completes(networked))
    last = boots[-1]
    return Result(
        "power to verdict",
        f"Guest seconds (10^9 instructions) of the reference assembly on {BOARD} without a network"
        " card or a wait for one, and of a program that only prints a marker in its place.",
        (whole, mark, more),
        whole.median / mark.median,
        "",
        GOAL_RATIO + GOAL_A_CONTAINER * last.containers,
        (
            f"containers started: {last.containers}; the timeline of the last boot:",
            *(f"{event.time_s:6.2f} s  {event.name} {_fields(event)}" for event in last.events),
            f"with a network card, DHCP's waits included: ratio {more.median / mark.median:.3f}",
        ),
    )


def _completes(boots: list[Boot]) -> tuple[float, ...]:
    return tuple(boot.complete_s for boot in boots)


def _fields(event: Event) -> str:
    return " ".join(f"{key}={value}" for key, value in event.fields.items())


class _Machine:
    """The board's QEMU, for what its firmware finds on the card of the reference assembly."""

    def __init__(self, project: Project, folder: Path) -> None:
        built = build(
            project,
            builtin_folder() / "assemblies" / "origin.yml",
            BOARD,
            out=folder,
            store=Store(),
            settings=ArchiveSettings.from_environment(),
            reporter=SilentReporter(),
        )
        (board,) = project.members(project.board(BOARD))
        plan, stand_in = boot_card(board, built.image).plan, board.stand_in
        if plan is None or plan.initrd is None:
            raise CheckError(f"{built.image}: its firmware starts nothing")
        if stand_in is None or stand_in.cpu is None or stand_in.network is None:
            raise CheckError(f"{BOARD}: its stand-in is not the one that this measures")
        (folder / "kernel").write_bytes(plan.kernel)
        (folder / "initrd").write_bytes(plan.initrd + marker_segment())
        self._cmdline = plan.cmdline
        self._argv = (
            f"qemu-system-{board.arch.to_qemu()}",
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", stand_in.machine, "-cpu", stand_in.cpu, "-m", f"{stand_in.memory_mib}M"),
            *("-icount", "shift=0,sleep=off", "-serial", "stdio"),
            *("-kernel", str(folder / "kernel"), "-initrd", str(folder / "initrd")),
        )
        # The card's boot ROM is in a package that this needs for nothing else.
        card = f"{stand_in.network.partition(',romfile=')[0]},romfile="
        self._network = ("-netdev", "user,id=n0,restrict=on", "-device", card)

    def boot(self, *, network: bool = False) -> Boot:
        """Boot to the end of the timeline."""
        events: list[Event] = []

        def ended(line: str) -> bool:
            event = parse_line(line)
            if isinstance(event, Event):
                events.append(event)
            return bool(events) and events[-1].name in ("complete", "failed")

        self._run(self._cmdline, ended, self._network if network else ())
        if not events or events[-1].name != "complete":
            told = "; ".join(f"{event.name} {_fields(event)}" for event in events[-3:])
            raise CheckError(f"the boot did not come to its end: {told or 'no timeline'}")
        return Boot(tuple(events))

    def marker_s(self) -> float:
        """Boot to the marker; the same memory, devices, kernel and initramfs."""
        found: list[float] = []

        def ended(line: str) -> bool:
            if line.startswith(MARK.decode()):
                found.append(int(line.removeprefix(MARK.decode())) / 1e9)
            return bool(found)

        self._run(f"{self._cmdline} rdinit=/farm-marker", ended, ())
        if not found:
            raise CheckError("the marker was not printed")
        return found[0]

    def _run(self, cmdline: str, ended: Callable[[str], bool], more: tuple[str, ...]) -> None:
        argv = (*self._argv, *more, "-append", cmdline)
        process = spawn(argv, stdout=PIPE, die_with_parent=True)
        late = threading.Timer(_LIMIT_S, process.kill)
        late.start()
        try:
            if process.stdout is not None:
                for line in _lines(process.stdout):
                    if ended(line):
                        break
        finally:
            late.cancel()
            process.kill()
            process.communicate()


def _lines(stream: Iterator[bytes]) -> Iterator[str]:
    for line in stream:
        yield line.decode(errors="replace").rstrip()
