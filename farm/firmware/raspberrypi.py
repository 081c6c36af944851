# SPDX-License-Identifier: Apache-2.0
"""What the Raspberry Pi's firmware does with the card's first FAT partition.

The order of files, the default names and the lines on the console are those of the real firmware
with `uart_2ndstage=1` (and BOOT_UART=1 in a Pi 4's EEPROM). Where the real one would go on into
certain silence (no device tree for a 64-bit kernel, an initramfs that is not there), this one
stops and says so. Times in the log are made up from the bytes read, so that the same card always
gives the same log. Overlays, tryboot and netboot are not modelled.

Source: Raspberry Pi documentation, "config.txt", "boot folder contents" and "EEPROM boot flow":
https://www.raspberrypi.com/documentation/computers/
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.core.arch import Arch
from farm.firmware.card import CardError, printable
from farm.firmware.config_txt import Config, read_config
from farm.firmware.devicetree import check_device_tree
from farm.firmware.fat import FatEntry, FatVolume
from farm.firmware.mbr import PartitionTable
from farm.firmware.outcome import BootPlan, FirmwareStop, LoadedFile, Role, Trace
from farm.spec.board import Board, PiFirmware

MAX_TEXT_BYTES = 64 * 1024
MAX_DEVICE_TREE_BYTES = 1024 * 1024
MAX_CMDLINE = 2047
"""arm64 Linux keeps 2,048 bytes of its command line, one of them the ending zero."""
DEFAULT_MEMORY_MIB = 1024
_MIB = 1024 * 1024
_KERNEL_ADDRESS = 0x200000
_TOP = 0x2EFF0000


@dataclass(frozen=True)
class PiModel:
    """How the firmware of one model differs.

    Args:
        stages: the files without which it does not start.
        fixups: files that belong to them; without these the memory split is wrong.
        boots_64bit: the default of `arm_64bit`.
        kernel_32bit: the default kernel's name in 32-bit mode.
        eeprom: whether the first stage is in an EEPROM (with its own log) or on the card.
    """

    stages: tuple[str, ...]
    fixups: tuple[str, ...]
    boots_64bit: bool
    kernel_32bit: str
    eeprom: bool


MODELS = {
    "pi3": PiModel(("bootcode.bin", "start.elf"), ("fixup.dat",), False, "kernel7.img", False),
    "pi4": PiModel(("start4.elf",), ("fixup4.dat",), True, "kernel7l.img", True),
}
_KERNEL_64BIT = "kernel8.img"
_KNOWN_32BIT = ("kernel.img", "kernel7.img", "kernel7l.img")


class RaspberryPi:
    """One power-on of one board with one card."""

    def __init__(
        self,
        board: Board,
        firmware: PiFirmware,
        table: PartitionTable,
        volume: FatVolume,
        trace: Trace,
    ) -> None:
        self._board = board
        self._firmware = firmware
        self._model = MODELS[firmware.model]
        self._table = table
        self._volume = volume
        self._trace = trace
        self._time_us = 1_000_000
        memory = board.stand_in.memory_mib if board.stand_in else DEFAULT_MEMORY_MIB
        self._memory_left = memory * _MIB

    def boot(self) -> BootPlan:
        """Do what the firmware does, up to the kernel's start.

        Raises:
            FirmwareStop: it stops; the message names the file.
        """
        try:
            return self._boot()
        except CardError as error:
            raise FirmwareStop(error.message) from error

    def _boot(self) -> BootPlan:
        self._first_stage()
        config = self._config()
        prefix = self._prefix(config)
        initrd = self._initrd(config, prefix)
        device_tree = self._device_tree(config, prefix)
        cmdline = self._cmdline(config, prefix)
        kernel = self._kernel(config, prefix)
        self._mess(f"Device tree loaded to {_TOP - 0x10000:#x} (size {len(device_tree):#x})")
        self._mess("uart: Set PL011 baud rate to 103448.300000 Hz")
        self._mess("uart: Baud rate change done...")
        return BootPlan(kernel, initrd, device_tree, cmdline)

    # -- the first stage: EEPROM (Pi 4) or bootcode.bin (Pi 3) ---------------------------------

    def _first_stage(self) -> None:
        if self._model.eeprom:
            self._say("Boot mode: SD (01) order f1")
            for partition in self._table.partitions:
                self._say(
                    f"MBR: {partition.first_sector:#010x},{partition.sectors:8d} "
                    f"type: {partition.type:#04x}"
                )
            geometry = self._volume.geometry
            self._say(
                f"type: {geometry.kind[3:]} '{printable(geometry.oem)}' "
                f"'{printable(self._volume.label):<11}' clusters {geometry.clusters} "
                f"({geometry.cluster_bytes // geometry.sector_bytes})"
            )
        else:
            self._required("bootcode.bin")
            self._say("Raspberry Pi Bootcode")
        if entry := self._volume.find("config.txt"):
            self._early("config.txt", entry)
        else:
            self._say("[sdcard] config.txt not found" if self._model.eeprom else "No config.txt")
        for name in self._model.stages:
            if name != "bootcode.bin":
                self._early(name, self._required(name))
        for name in self._model.fixups:
            if entry := self._volume.find(name):
                self._early(name, entry)
            else:
                self._warn(f"{name}: not found: the firmware cannot set up all of the memory")
        if self._model.eeprom:
            self._say("Starting start4.elf @ 0xfec00200 partition 0")

    def _required(self, name: str) -> FatEntry:
        entry = self._volume.find(name)
        if entry is None or entry.is_folder:
            if self._model.eeprom:
                self._say(f"[sdcard] {name} not found")
            raise FirmwareStop(
                f"{name}: not found on {self._volume.geometry.name} "
                f"({self._board.title} does not start without it)"
            )
        self._volume.runs(entry)
        if entry.size_bytes == 0:
            raise FirmwareStop(f"{name}: empty")
        self._trace.files.append(LoadedFile("firmware", entry.path, entry.size_bytes))
        return entry

    def _early(self, name: str, entry: FatEntry) -> None:
        self._time_us += entry.size_bytes // 12
        if self._model.eeprom:
            self._say(f"Read {name} bytes {entry.size_bytes:8d}")
        else:
            unit = "" if name == "config.txt" else " (bytes)"
            self._say(f"Read File: {name}, {entry.size_bytes}{unit}")

    # -- start.elf -----------------------------------------------------------------------------

    def _config(self) -> Config:
        def text(name: str) -> str | None:
            entry = self._volume.find(name)
            if entry is None or entry.is_folder:
                return None
            data = self._read("config", entry, limit=MAX_TEXT_BYTES)
            return data.decode("utf-8", "replace")

        config = read_config("config.txt", text, model=self._firmware.model)
        for note in config.notes:
            self._mess(note)
            self._trace.warnings.append(note)
        for line in config.overlays:
            self._mess(f"{printable(line)}: overlays are not modelled: not applied")
            self._trace.warnings.append(f"config.txt: {printable(line)}: overlays are not modelled")
        if not config.on("enable_uart"):
            self._trace.warnings.append(
                "config.txt: enable_uart=1 is not set: the board's serial console may stay silent"
            )
        if not config.on("uart_2ndstage"):
            self._trace.warnings.append(
                "config.txt: uart_2ndstage=1 is not set: the board's firmware will not say "
                "why it stops"
            )
        return config

    def _prefix(self, config: Config) -> str:
        given = config.values.get("os_prefix")
        if given is None:
            given = "upstream/" if config.on("upstream_kernel") else ""
        if given and not self._find_kernel(config, given):
            self._mess(f"os_prefix '{printable(given)}' is ignored: no kernel there")
            return ""
        return given

    def _initrd(self, config: Config, prefix: str) -> bytes | None:
        names = config.initramfs
        if not names and (given := config.values.get("ramfsfile")):
            names = tuple(part.strip() for part in given.split(",") if part.strip())
        if not names and config.on("auto_initramfs"):
            kernel = self._kernel_names(config)[0]
            stem = kernel.removeprefix("kernel").removesuffix(".img")
            name = f"initramfs{stem}"
            if kernel.startswith("kernel") and self._volume.find(prefix + name):
                names = (name,)
        if not names:
            return None
        parts = [self._load("initrd", prefix + name, address=0) for name in names]
        data = b"".join(parts)
        at = (_TOP - 0x10000 - len(data)) & ~0xFFF if len(data) < _TOP // 2 else _KERNEL_ADDRESS
        self._mess(f"initramfs loaded to {at:#x} (size {len(data):#x})")
        return data

    def _device_tree(self, config: Config, prefix: str) -> bytes:
        own = self._firmware
        names = [own.device_tree]
        if config.on("upstream_kernel"):
            names = [own.upstream_device_tree, own.device_tree]
        if "device_tree" in config.values:
            names = [config.values["device_tree"]]
        if names == [""]:
            raise FirmwareStop("config.txt: device_tree= is empty: no 64-bit Linux starts without")
        for name in dict.fromkeys(names):
            self._mess(f"dtb_file '{printable(name)}'")
            entry = self._volume.find(prefix + name)
            if entry is None or entry.is_folder:
                continue
            data = self._read("device tree", entry, limit=MAX_DEVICE_TREE_BYTES)
            self._mess(f"Loaded '{printable(name)}' to 0x100 size {len(data):#x}")
            check_device_tree(data, entry.path)
            return data
        self._mess("dterror: Failed to load Device Tree file '?'")
        missing = " and ".join(printable(prefix + name) for name in dict.fromkeys(names))
        raise FirmwareStop(f"{missing}: not found (no 64-bit Linux starts without its device tree)")

    def _cmdline(self, config: Config, prefix: str) -> str:
        name = config.values.get("cmdline", "cmdline.txt")
        entry = self._volume.find(prefix + name)
        if entry is None or entry.is_folder:
            self._mess(f"Failed to open command line file '{printable(name)}'")
            self._trace.warnings.append(
                f"{printable(name)}: not found: the kernel gets no console from it"
            )
            return ""
        text = self._read("cmdline", entry, limit=MAX_TEXT_BYTES).decode("utf-8", "replace")
        lines = text.splitlines() or [""]
        line = lines[0].split("\0", 1)[0].strip()
        if any(more.strip() for more in lines[1:]):
            self._trace.warnings.append(f"{printable(name)}: only the first line counts")
        if len(line) > MAX_CMDLINE:
            self._trace.warnings.append(
                f"{printable(name)}: {len(line)} characters: the kernel keeps {MAX_CMDLINE}"
            )
        self._mess(f"Read command line from file '{printable(name)}':")
        self._mess(f"'{printable(line, MAX_CMDLINE)}'")
        return line

    def _kernel(self, config: Config, prefix: str) -> bytes:
        path = self._find_kernel(config, prefix)
        names = self._kernel_names(config)
        if path is None:
            missing = " and ".join(printable(prefix + name) for name in names)
            self._mess(f"Failed to load kernel '{printable(prefix + names[0])}'")
            raise FirmwareStop(f"{missing}: not found: no kernel to start")
        if self._board.arch is Arch.ARM64 and not self._is_64bit(config):
            raise FirmwareStop(
                f"config.txt: {printable(path)} would be started in 32-bit mode, and "
                f"{self._board.name} is a board for 64-bit kernels: set arm_64bit=1"
            )
        return self._load("kernel", path, address=_KERNEL_ADDRESS)

    def _is_64bit(self, config: Config) -> bool:
        given = config.values.get("kernel", "")
        if "arm_64bit" not in config.values:
            if given == _KERNEL_64BIT:
                return True
            if given in _KNOWN_32BIT:
                return False
        return config.on("arm_64bit", self._model.boots_64bit)

    def _kernel_names(self, config: Config) -> tuple[str, ...]:
        if given := config.values.get("kernel"):
            return (given,)
        return (_KERNEL_64BIT if self._is_64bit(config) else self._model.kernel_32bit,)

    def _find_kernel(self, config: Config, prefix: str) -> str | None:
        for name in self._kernel_names(config):
            entry = self._volume.find(prefix + name)
            if entry is not None and not entry.is_folder:
                return prefix + name
        return None

    # -- reading and saying --------------------------------------------------------------------

    def _load(self, role: Role, path: str, *, address: int) -> bytes:
        entry = self._volume.find(path)
        if entry is None or entry.is_folder:
            raise FirmwareStop(f"{printable(path)}: not found ({role} named in config.txt)")
        data = self._read(role, entry, limit=self._memory_left)
        if not data:
            raise FirmwareStop(f"{printable(path)}: empty")
        self._memory_left -= len(data)
        self._mess(f"Loaded '{printable(path)}' to {address:#x} size {len(data):#x}")
        return data

    def _read(self, role: Role, entry: FatEntry, *, limit: int) -> bytes:
        self._mess(f"brfs: File read: /mfs/sd{printable(entry.path)}")
        data = self._volume.read(entry, limit_bytes=limit)
        self._time_us += len(data) // 12
        if role in ("config", "cmdline"):
            self._mess(f"brfs: File read: {len(data)} bytes")
        self._trace.files.append(LoadedFile(role, entry.path, len(data)))
        return data

    def _say(self, line: str) -> None:
        self._trace.log.append(line)

    def _mess(self, text: str) -> None:
        self._time_us += 4_000
        seconds, micro = divmod(self._time_us, 1_000_000)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        self._say(f"MESS:{hours:02d}:{minutes:02d}:{seconds % 60:02d}.{micro:06d}:0: {text}")

    def _warn(self, text: str) -> None:
        self._trace.warnings.append(text)
        self._say(text)
