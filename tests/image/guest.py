# SPDX-License-Identifier: Apache-2.0
"""A guest for cards: an init that says what it finds, and QEMU as the board after its firmware."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from farm.core.run import PIPE, STDOUT, spawn
from farm.firmware.boot import BootPlan
from farm.oci.tree import Tree
from farm.spec.board import Board

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /usr/bin
/bin/busybox --install -s /usr/bin
export PATH=/usr/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
exec < /dev/console > /dev/console 2>&1
while read path; do insmod "$path" || echo "guest: failed $path"; done < /etc/farm/modules
n=0
while [ $n -lt 50 ]; do
    [ -e /sys/class/net/eth0 ] && break
    n=$((n + 1)); usleep 100000
done
if [ -e /sys/class/net/eth0 ]; then
    ifconfig eth0 up
    udhcpc -n -q -t 10 -T 1 -i eth0 -s /bin/busybox > /dev/null 2>&1 && echo "guest: lease"
fi
n=0
while [ $n -lt 100 ]; do
    for disk in mmcblk0 vda; do [ -e /dev/${disk}p1 -o -e /dev/${disk}1 ] && break 2; done
    n=$((n + 1)); usleep 100000
done
[ $n = 100 ] || echo "guest: card $disk"
echo "guest: cmdline $(cat /proc/cmdline)"
echo "guest: ready"
read -t 60 line && echo "guest: read $line"
echo "guest: off"
poweroff -f
"""


@dataclass
class Seen:
    """What the guest said, and how QEMU ended.

    Args:
        guest: the guest's lines, without their beginning.
        whole: everything on the console.
    """

    guest: list[str]
    whole: str
    ended: bool


def newc(tree: Tree) -> bytes:
    """A cpio archive in the kernel's own format (Documentation/driver-api/early-userspace)."""
    out = bytearray()
    kinds = {"file": 0o100000, "folder": 0o40000, "symlink": 0o120000}
    rows = [(e.path, kinds[e.kind] | e.mode, e.read() or e.target.encode()) for e in tree]
    for inode, (name, mode, data) in enumerate([*rows, ("TRAILER!!!", 0, b"")], 1):
        numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % number for number in numbers)
        out += name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def run_board(board: Board, plan: BootPlan, card: Path, work: Path, *, limit_s: float) -> Seen:
    """Start QEMU with what the firmware found, type a word when the guest is ready, and watch.

    Args:
        limit_s: seconds of wall time after which QEMU is killed.
    """
    stand_in = board.stand_in
    assert stand_in is not None
    disk = work / "card.img"
    disk.write_bytes(b"")
    with card.open("rb") as source, disk.open("r+b") as target:
        os.truncate(disk, stand_in.card_mib << 20)
        os.sendfile(target.fileno(), source.fileno(), 0, card.stat().st_size)
    argv: list[str | Path] = [
        *("qemu-system-aarch64", "-M", stand_in.machine, "-m", str(stand_in.memory_mib)),
        *("-accel", stand_in.accel, "-display", "none", "-monitor", "none", "-no-reboot"),
    ]
    for option, data in (
        ("-kernel", plan.kernel),
        ("-initrd", plan.initrd),
        ("-dtb", plan.device_tree),
    ):
        if data is not None:
            (work / option).write_bytes(data)
            argv += [option, work / option]
    argv += ["-append", plan.cmdline]
    argv += ["-cpu", stand_in.cpu] if stand_in.cpu else []
    argv += ["-smp", str(stand_in.cpus)] if stand_in.cpus else []
    how = "sd" if stand_in.card == "sd" else "none"
    argv += ["-drive", f"if={how},format=raw,file={disk},id=card0"]
    argv += ["-device", "virtio-blk-pci,drive=card0"] if how == "none" else []
    if stand_in.network:
        argv += ["-netdev", "user,id=n0", "-device", stand_in.network]
    argv += ["-serial", "null"] * stand_in.console_port + ["-serial", "stdio"]
    return _watch([*argv, *stand_in.args], limit_s)


def _watch(argv: list[str | Path], limit_s: float) -> Seen:
    until = time.monotonic() + limit_s
    said = b""
    typed = False
    with spawn(argv, stdin=PIPE, stdout=PIPE, stderr=STDOUT, die_with_parent=True) as process:
        assert process.stdin is not None and process.stdout is not None
        out = process.stdout.fileno()
        while (left := until - time.monotonic()) > 0:
            if not select.select([out], [], [], left)[0]:
                break
            chunk = os.read(out, 65536)
            if not chunk:
                break
            said += chunk
            if not typed and b"guest: ready\r\n" in said:
                typed = True
                process.stdin.write(b"hello\n")
                process.stdin.flush()
        ended = time.monotonic() < until
        process.kill()
    text = said.decode(errors="replace")
    lines = [
        line.partition("guest: ")[2].strip() for line in text.splitlines() if "guest: " in line
    ]
    return Seen(lines, text, ended)
