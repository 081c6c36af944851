# SPDX-License-Identifier: Apache-2.0
"""Which disks are refused, on made-up machines: sysfs and proc as folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.flash.disks import check_disk
from farm.flash.refusal import RefusedError


class Machine:
    """A made-up machine's sysfs and proc; `check` asks about one of its block devices."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.proc = folder / "sys", folder / "proc"
        (self.sys / "dev/block").mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/mountinfo").touch()
        (self.proc / "swaps").write_text("Filename Type Size Used Priority\n")

    def disk(self, name: str, number: str, bus: str = "pci0000:00/nvme", **files: str) -> Path:
        """A block device; `bus` is where it hangs in sysfs."""
        folder = self.sys / "devices" / bus / name
        return self._device(folder, number, files)

    def partition(self, disk: Path, name: str, number: str) -> Path:
        return self._device(disk / name, number, {"partition": "1"})

    def volume(self, name: str, number: str, *slaves: Path) -> Path:
        """A device-mapper volume on others."""
        folder = self.disk(name, number, "virtual/block")
        for slave in slaves:
            for here, there in ((folder / "slaves", slave), (slave / "holders", folder)):
                here.mkdir(exist_ok=True)
                (here / there.name).symlink_to(there)
        return folder

    def mount(self, number: str, place: str, kind: str = "ext4", source: str = "/dev/x") -> None:
        with (self.proc / "self/mountinfo").open("a") as file:
            file.write(f"30 1 {number} / {place} rw,relatime shared:1 - {kind} {source} rw\n")

    def check(self, number: str) -> None:
        major, minor = number.split(":")
        device = os.makedev(int(major), int(minor))
        check_disk("/dev/card", device, sys=str(self.sys), proc=str(self.proc))

    def _device(self, folder: Path, number: str, files: dict[str, str]) -> Path:
        folder.mkdir(parents=True)
        for name, text in {"dev": number, **files}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text + "\n")
        (self.sys / "dev/block" / number).symlink_to(folder)
        return folder


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A system disk 259:0 with / on its second partition, and a card 179:0 in an SD slot."""
    made = Machine(tmp_path)
    system = made.disk("nvme0n1", "259:0")
    made.partition(system, "nvme0n1p1", "259:1")
    made.partition(system, "nvme0n1p2", "259:2")
    made.mount("259:2", "/")
    card = made.disk("mmcblk0", "179:0", "platform/mmc_host/mmc0")
    made.partition(card, "mmcblk0p1", "179:1")
    return made


def test_a_card_is_taken_and_the_system_disk_is_not(machine: Machine) -> None:
    machine.check("179:0")
    with pytest.raises(RefusedError, match="what is mounted at / is on it"):
        machine.check("259:0")


def test_partitions_are_refused(machine: Machine) -> None:
    with pytest.raises(RefusedError, match="is a partition"):
        machine.check("179:1")


def test_unknown_devices_are_refused(machine: Machine) -> None:
    with pytest.raises(RefusedError, match="does not know"):
        machine.check("8:0")


def test_a_mounted_partition_of_the_card(machine: Machine) -> None:
    machine.mount("179:1", r"/media/my\040card")
    with pytest.raises(RefusedError, match="what is mounted at /media/my card"):
        machine.check("179:0")


def test_a_root_on_lvm_on_luks(machine: Machine, tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    disk = other.disk("sda", "8:0", "pci0000:00/ata1")
    luks = other.volume("dm-0", "253:0", other.partition(disk, "sda3", "8:3"))
    other.volume("dm-1", "253:1", luks)
    other.mount("253:1", "/")
    # What rests on it is seen from both sides; take the holders away to prove the other one.
    with pytest.raises(RefusedError, match="dm-0 rests on it"):
        other.check("8:0")
    (disk / "sda3/holders/dm-0").unlink()
    with pytest.raises(RefusedError, match="what is mounted at / is on it"):
        other.check("8:0")


def test_a_file_system_in_a_loop_file_on_the_disk(machine: Machine, tmp_path: Path) -> None:
    """A mounted loop device: the disk that holds its file is in use, whatever its name."""
    backing = tmp_path / "image"
    backing.touch()
    there = backing.stat().st_dev
    number = f"{os.major(there)}:{os.minor(there)}"
    if number.startswith("0:"):
        pytest.skip("the folder for tests is on no block device")
    machine.disk("held", number, "platform/mmc_host/mmc1")
    machine.disk("loop0", "7:0", "virtual/block", **{"loop/backing_file": str(backing)})
    machine.check(number)
    machine.mount("7:0", "/mnt")
    with pytest.raises(RefusedError, match="what is mounted at /mnt is on it"):
        machine.check(number)


def test_a_root_that_tells_no_disk(tmp_path: Path) -> None:
    """overlay, btrfs, zfs: only what comes and goes is taken."""
    machine = Machine(tmp_path)
    machine.mount("0:30", "/", "overlay", "overlay")
    machine.disk("sda", "8:0", "pci0000:00/ata1")
    machine.disk("sdb", "8:16", "pci0000:00/usb1/1-1")
    machine.disk("sdc", "8:32", "pci0000:00/ata2", removable="1")
    machine.disk("loop3", "7:3", "virtual/block", **{"loop/backing_file": "/nowhere"})
    with pytest.raises(RefusedError, match="cannot tell whether"):
        machine.check("8:0")
    for number in ("8:16", "8:32", "7:3"):
        machine.check(number)


def test_a_root_from_the_network(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mount("0:20", "/", "nfs4", "server:/root")
    machine.disk("sda", "8:0", "pci0000:00/ata1")
    machine.check("8:0")


def test_mounts_that_cannot_be_seen(machine: Machine) -> None:
    (machine.proc / "self/mountinfo").unlink()
    with pytest.raises(RefusedError, match="cannot see what is mounted"):
        machine.check("179:0")
