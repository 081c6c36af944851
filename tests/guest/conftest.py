# SPDX-License-Identifier: Apache-2.0
"""Real boots of init in QEMU, on a clock that counts the guest's instructions.

`-icount sleep=off` makes a second of the guest's time a number of instructions, and lets its clock
jump while it sleeps: no load of this machine changes what happens, and a minute costs nothing.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.components import build_component, component_config, component_facts
from farm.core.arch import Arch
from farm.core.progress import SilentReporter
from farm.core.run import PIPE, STDOUT, Process, spawn
from farm.debian import ArchiveSettings
from farm.kernels import PreparedKernel, module_tree, prepare_kernel
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Entry, Kind, Tree, make_tree
from farm.rootfs import (
    BootFacts,
    Codec,
    Container,
    ContainerKind,
    build_id,
    compose,
    concatenate,
    identity_segment,
)
from farm.smoke.timeline import Corrupt, Event, parse_line
from farm.spec.component import Need
from farm.spec.container import ContainerConfig, Health
from farm.spec.project import Project

# Of wall time: only so that a broken guest does not run for ever.
_PATIENCE_S = 180
NO_SELF_TESTS = "cryptomgr.notests=1"
NETWORK = ("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=")


@dataclass(frozen=True)
class Boot:
    """What came of a boot.

    Args:
        console: all of the console.
        events: the timeline.
        ended: whether QEMU ended by itself.
    """

    console: str
    events: tuple[Event, ...]
    ended: bool

    def names(self) -> list[str]:
        """The events, each as its name and, where it has one, the container's."""
        return [" ".join([e.name, *filter(None, [e.fields.get("name")])]) for e in self.events]

    def one(self, name: str, container: str | None = None) -> Event:
        """The only event of a name (and container)."""
        (found,) = (
            event
            for event in self.events
            if event.name == name and container in (None, event.fields.get("name"))
        )
        return found

    def said(self, who: str) -> list[str]:
        """Lines `WHO: TEXT` of the console, without what stands before the text."""
        lines = self.console.splitlines()
        return [line.partition(f"{who}: ")[2] for line in lines if f"{who}: " in line]


class Machine:
    """Composes an initramfs around containers, and boots it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        self.project = Project.find(Path(__file__).parents[2])
        self.settings = ArchiveSettings.from_environment()
        self.init = self.component("init")
        self.kernel = self._kernel()
        self.build_id = ""
        tree = self.store.tree(self.init)
        wanted = ("usr/bin/busybox", "usr/bin/sh")
        self._busybox = [entry for entry in tree if entry.path in wanted]

    def _kernel(self) -> PreparedKernel:
        # From the cache that all tests share: making it ready takes ten seconds.
        found = self.project.kernel("debian")
        return prepare_kernel(found, Arch.ARM64, Store(), self.settings, SilentReporter())

    def modules(self, *names: str) -> Tree:
        """Kernel modules with all that they need."""
        return module_tree(self.kernel, names, Store())

    def component(self, name: str) -> StoredImage:
        """The image of a component of the project."""
        found = self.project.component(name)
        return build_component(found, Arch.ARM64, self.store, self.settings, SilentReporter())

    def of_component(self, kind: ContainerKind, name: str) -> Container:
        """A container as the component of that name describes it."""
        image = self.component(name)
        facts = component_facts(image)
        config = component_config(image)
        return Container(kind, 0, name, image, config, facts.needs, facts.health)

    def container(
        self,
        kind: ContainerKind,
        name: str,
        script: str,
        *,
        index: int = 0,
        needs: tuple[Need, ...] = (),
        health: Health | None = None,
        **keys: object,
    ) -> Container:
        """A container that runs a script of busybox's shell; `keys` are image-entry keys."""
        go = Entry("go", Kind.FILE, 0o755, data=f"#!/usr/bin/sh\n{script}\n".encode())
        image = self.store.put_image(
            ref=f"test/{name}",
            arch=Arch.ARM64,
            trees=[make_tree([*self._busybox, go])],
            labels={},
            config={"Cmd": ["/go"]},
        )
        config = ContainerConfig.model_validate(keys)
        return Container(kind, index, name, image, config, needs, health)

    def boot(
        self,
        containers: Sequence[Container] = (),
        *,
        until: Callable[[Boot], bool] | None = None,
        cmdline: str = "loglevel=6",
        files: Sequence[Entry] = (),
        modules: Tree = (),
        facts: BootFacts | None = None,
        codec: Codec = "zstd",
        qemu: Sequence[str] = (),
        forged: str | None = None,
    ) -> Boot:
        """Boot until something is seen, or QEMU ends.

        Args:
            containers: what init finds.
            until: called after each line; None waits for the end of QEMU.
            cmdline: of the kernel, beside its console.
            files: put over everything else.
            modules: kernel modules.
            facts: what init is told of the board.
            codec: of the segments.
            qemu: further arguments.
            forged: begin of lines that a container writes to look like the timeline's.
        """
        segments = compose(
            init=[self.init],
            containers=containers,
            files=make_tree(files),
            modules=modules,
            facts=facts or BootFacts("test"),
            codec=codec,
            store=self.store,
            reporter=SilentReporter(),
        )
        self.build_id = build_id(self.kernel.kernel, segments)
        segments = (*segments, identity_segment(self.build_id, codec, self.store))
        initrd = self.folder / "initrd"
        with initrd.open("wb") as file:
            concatenate(segments, self.store, file)
        command = [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "256"),
            *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"),
            *("-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot"),
            *("-kernel", Store().blob_path(self.kernel.kernel.digest), "-initrd", initrd),
            *("-append", f"console=ttyAMA0 panic=-1 {NO_SELF_TESTS} {cmdline}"),
            *qemu,
        ]
        process = spawn(command, stdout=PIPE, stderr=STDOUT, die_with_parent=True)
        try:
            return _watch(process, until, forged)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _watch(process: Process, until: Callable[[Boot], bool] | None, forged: str | None) -> Boot:
    assert process.stdout is not None
    end = time.monotonic() + _PATIENCE_S
    data, seen = b"", 0
    while True:
        left = end - time.monotonic()
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, left))
        if not readable:
            pytest.fail(f"the guest did not do in {_PATIENCE_S} s what it should:\n{_text(data)}")
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            return _boot(data, forged, ended=True)
        data += piece
        if until is not None and data.count(b"\n") > seen:
            seen = data.count(b"\n")
            boot = _boot(data[: data.rindex(b"\n")], forged, ended=False)
            if until(boot):
                return boot


def _boot(data: bytes, forged: str | None, *, ended: bool) -> Boot:
    console = _text(data)
    found = [parse_line(line) for line in console.splitlines()]
    corrupt = [line for line in found if isinstance(line, Corrupt)]
    assert [line for line in corrupt if not forged or not line.text.startswith(forged)] == []
    events = tuple(line for line in found if isinstance(line, Event))
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), console
    return Boot(console, events, ended)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def seen(name: str, count: int = 1) -> Callable[[Boot], bool]:
    """Whether an event was seen so many times."""
    return lambda boot: sum(event.name == name for event in boot.events) >= count


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("guest"))
