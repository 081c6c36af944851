# SPDX-License-Identifier: Apache-2.0
"""U-Boot's distro boot: extlinux/extlinux.conf of the card, and what it names.

Source: U-Boot's doc/develop/distro.rst and doc/README.pxe (the file's format; `bootable` flags
decide the partition, else it is the first), the Boot Loader Specification's extlinux form.

A gzip'ed arm64 Image needs `kernel_comp_addr_r` and `kernel_comp_size` in a real U-Boot's
environment; this one behaves as if they were set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from farm.firmware.card import Card, CardError, printable
from farm.firmware.devicetree import check_device_tree
from farm.firmware.fat import FatVolume
from farm.firmware.mbr import FAT_TYPES, Partition, PartitionTable
from farm.firmware.outcome import BootPlan, FirmwareStop, LoadedFile, Role, Trace
from farm.spec.board import Board

MAX_TEXT_BYTES = 64 * 1024
MAX_DEVICE_TREE_BYTES = 1024 * 1024
MAX_LABELS = 64
DEFAULT_MEMORY_MIB = 1024
_MIB = 1024 * 1024
_PREFIXES = ("/", "/boot/")
_CONF = "extlinux/extlinux.conf"
_GZIP = b"\x1f\x8b"


@dataclass
class Label:
    """One thing to boot."""

    name: str
    menu: str = ""
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    fdt: str = ""
    fdtdir: str = ""


@dataclass
class ExtlinuxConf:
    """A parsed extlinux.conf; `order` is the default label first, then the others."""

    default: str = ""
    labels: list[Label] = field(default_factory=list)

    @property
    def order(self) -> list[Label]:
        """The labels as U-Boot tries them."""
        chosen = [label for label in self.labels if label.name == self.default][:1]
        return chosen + [label for label in self.labels if label not in chosen]


_FIELDS = {
    "kernel": "kernel",
    "linux": "kernel",
    "initrd": "initrd",
    "append": "append",
    "fdt": "fdt",
    "devicetree": "fdt",
    "fdtdir": "fdtdir",
    "devicetreedir": "fdtdir",
}


def parse_extlinux(text: str) -> ExtlinuxConf:
    """Parse extlinux.conf; keywords that U-Boot does not know are ignored, as it does."""
    conf = ExtlinuxConf()
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.replace("\t", " ").partition(" ")
        key, value = word.lower(), rest.strip()
        if key == "default":
            conf.default = value
        elif key == "label" and len(conf.labels) < MAX_LABELS:
            conf.labels.append(Label(value))
        elif key == "menu" and conf.labels and value.lower().startswith("label "):
            conf.labels[-1].menu = value[6:].strip()
        elif key in _FIELDS and conf.labels:
            if key in ("kernel", "linux"):
                value = value.split("#", 1)[0]  # a FIT image's configuration
            setattr(conf.labels[-1], _FIELDS[key], value)
    return conf


class Extlinux:
    """One power-on of a board whose U-Boot does distro boot."""

    def __init__(self, board: Board, card: Card, table: PartitionTable, trace: Trace) -> None:
        self._board = board
        self._card = card
        self._table = table
        self._trace = trace
        memory = board.stand_in.memory_mib if board.stand_in else DEFAULT_MEMORY_MIB
        self._memory = memory * _MIB
        self._device = board.stand_in.card if board.stand_in else "sd"

    def boot(self) -> BootPlan:
        """Do what U-Boot does, up to the kernel's start.

        Raises:
            FirmwareStop: it stops; the message names the file.
        """
        self._say(f"U-Boot (virtual, {self._board.title})")
        self._say("Hit any key to stop autoboot:  0")
        reasons = []
        for partition in self._candidates():
            result = self._try_partition(partition)
            if isinstance(result, BootPlan):
                return result
            reasons.append(result)
        raise FirmwareStop("; ".join(reasons) or "no partition 1, and none is marked bootable")

    def _candidates(self) -> list[Partition]:
        bootable = [p for p in self._table.partitions if p.bootable]
        return bootable or [p for p in self._table.partitions if p.number == 1]

    def _try_partition(self, partition: Partition) -> BootPlan | str:
        device = "mmc" if self._device == "sd" else "virtio"
        self._say(f"Scanning {device} 0:{partition.number}...")
        if partition.type not in FAT_TYPES:
            return f"partition {partition.number}: type {partition.type:#04x} is no FAT"
        try:
            volume = FatVolume(self._card, partition)
            for prefix in _PREFIXES:
                entry = volume.find(prefix + _CONF)
                if entry is not None and not entry.is_folder:
                    return self._boot_conf(volume, prefix)
        except CardError as error:
            self._say(printable(error.message))
            return error.message
        return f"partition {partition.number}: /{_CONF}: not found"

    def _boot_conf(self, volume: FatVolume, prefix: str) -> BootPlan | str:
        self._say(f"Found {prefix}{_CONF}")
        text = self._retrieve(volume, prefix + _CONF, "config", MAX_TEXT_BYTES)
        conf = parse_extlinux(text.decode("utf-8", "replace"))
        if not conf.labels:
            return f"{prefix}{_CONF}: no label"
        reasons = []
        for number, label in enumerate(conf.order, 1):
            self._say(f"{number}:\t{printable(label.menu or label.name)}")
            try:
                return self._boot_label(volume, prefix, label)
            except (FirmwareStop, CardError) as stop:
                reasons.append(f"label {printable(label.name)}: {stop}")
                self._say(f"Skipping {printable(label.name)} for failure")
        self._say("SCRIPT FAILED: continuing...")
        return "; ".join(reasons)

    def _boot_label(self, volume: FatVolume, prefix: str, label: Label) -> BootPlan:
        if not label.kernel:
            raise FirmwareStop("no kernel is given")
        folder = f"{prefix}extlinux/"

        def path(name: str) -> str:
            return name if name.startswith("/") else folder + name

        kernel = self._retrieve(volume, path(label.kernel), "kernel", self._memory)
        left = self._memory - len(kernel)
        initrd = (
            self._retrieve(volume, path(label.initrd), "initrd", left) if label.initrd else None
        )
        if label.append:
            self._say(f"append: {printable(label.append, 2048)}")
        device_tree = self._device_tree(volume, path, label)
        if kernel[:2] == _GZIP:
            self._say("   Uncompressing Kernel Image")
        self._say("Starting kernel ...")
        return BootPlan(kernel, initrd, device_tree, label.append)

    def _device_tree(
        self, volume: FatVolume, path: Callable[[str], str], label: Label
    ) -> bytes | None:
        name = label.fdt
        if not name and label.fdtdir:
            trees = self._board.device_trees
            if not trees:
                return None  # the firmware's own tree, as U-Boot does without $fdtfile
            name = f"{label.fdtdir.rstrip('/')}/{trees[0]}"
        if not name:
            return None
        data = self._retrieve(volume, path(name), "device tree", MAX_DEVICE_TREE_BYTES)
        check_device_tree(data, printable(name))
        return data

    def _retrieve(self, volume: FatVolume, path: str, role: Role, limit: int) -> bytes:
        self._say(f"Retrieving file: {printable(path)}")
        entry = volume.find(path)
        if entry is None or entry.is_folder:
            self._say(f"Failed to load '{printable(path)}'")
            raise FirmwareStop(f"{printable(path)}: not found")
        data = volume.read(entry, limit_bytes=limit)
        if not data:
            raise FirmwareStop(f"{printable(path)}: empty")
        self._trace.files.append(LoadedFile(role, entry.path, len(data)))
        return data

    def _say(self, line: str) -> None:
        self._trace.log.append(line)
