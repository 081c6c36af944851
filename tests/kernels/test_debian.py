# SPDX-License-Identifier: Apache-2.0
"""Debian's real arm64 kernel: prepared, taken from, and its modules loaded in QEMU."""

from __future__ import annotations

import gzip
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.core.progress import LineReporter
from farm.core.run import run
from farm.debian import Archive, ArchiveSettings, package_tree
from farm.kernels import (
    MODULE_LIST,
    PreparedKernel,
    device_tree,
    module_plan,
    module_tree,
    prepare_kernel,
)
from farm.kernels.prepare import put_kernel
from farm.oci.store import Store
from farm.oci.tree import Kind
from farm.spec.kernel import Kernel
from farm.spec.project import FoundKernel, Project
from tests.kernels.test_prepare import Steps

pytestmark = pytest.mark.network

REPORTER = LineReporter()


@dataclass(frozen=True)
class Real:
    """Debian's kernel, prepared in farm's own cache, which outlives the test."""

    found: FoundKernel
    store: Store
    kernel: PreparedKernel

    def again(self) -> PreparedKernel:
        settings = ArchiveSettings.from_environment()
        return prepare_kernel(self.found, Arch.ARM64, Store(), settings, REPORTER)


@pytest.fixture(scope="module")
def real() -> Real:
    found = Project.find(Path(__file__).parent).kernel("debian")
    store = Store()
    settings = ArchiveSettings.from_environment()
    return Real(found, store, prepare_kernel(found, Arch.ARM64, store, settings, REPORTER))


def test_it_is_prepared_once(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*args: object) -> None:
        raise AssertionError("packages were fetched again")

    monkeypatch.setattr(Archive, "fetch", fetch)
    assert real.again() == real.kernel
    assert real.kernel.codec == "zstd"
    assert real.kernel.release.endswith("-arm64")
    image = gzip.decompress(real.store.read_blob(real.kernel.kernel.digest))
    assert image[56:60] == b"ARMd"


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ("virtio_net", "failover net_failover virtio_net"),
        (
            "genet",
            "libphy fwnode_mdio fixed_phy of_mdio mdio_bcm_unimac genet",
        ),
        ("bcm2835_wdt", "bcm2835_wdt"),
        ("sdhci-iproc", "sdhci sdhci_pltfm sdhci_iproc"),
        ("vfat", "fat vfat"),
        ("overlay", "overlay"),
        ("ext4", "crc32c_generic jbd2 mbcache crc16 ext4"),
        ("mmc_block", ""),
    ],
)
def test_what_a_module_needs_is_found(real: Real, wanted: str, order: str) -> None:
    plan = module_plan(real.kernel, [wanted], real.store)
    # A soft dependency comes first, the rest by what needs what.
    assert set(plan.load_order) == set(order.split())
    assert plan.load_order[-1:] == tuple(order.split())[-1:]
    assert plan.built_in == (() if order else (wanted,))
    assert plan.missing_firmware == ()


def test_the_real_modprobe_agrees(real: Real, tmp_path: Path) -> None:
    """With kmod's own modprobe as the judge, over all of the kernel's modules."""
    entry = next(e for e in real.store.tree(real.kernel.image) if e.path == "kernel.tar")
    (tmp_path / "kernel.tar").write_bytes(entry.read())
    run(["tar", "-xf", "kernel.tar"], cwd=tmp_path)
    for wanted in ("genet", "ext4", "xfs", "nf_nat", "dwc2", "cfg80211", "dm-verity"):
        argv = ["modprobe", "-d", tmp_path, "-C", tmp_path, "-S", real.kernel.release]
        said = run([*argv, "--show-depends", wanted]).stdout.decode()
        theirs = [
            line.split()[1].rpartition("/")[2].partition(".")[0].replace("-", "_")
            for line in dict.fromkeys(said.splitlines())
        ]
        ours = module_plan(real.kernel, [wanted], real.store).load_order
        assert list(ours) == theirs
    # Of several softdep lines of one module modprobe follows only the first.
    assert "xxhash_generic" in module_plan(real.kernel, ["btrfs"], real.store).load_order


def test_the_boards_device_trees_are_there(real: Real) -> None:
    for name in ("bcm2711-rpi-4-b", "bcm2837-rpi-3-b"):
        data = device_tree(real.kernel, f"broadcom/{name}.dtb", real.store)
        assert data.startswith(b"\xd0\x0d\xfe\xed")
        assert int.from_bytes(data[4:8], "big") == len(data)


@pytest.mark.long
def test_two_machines_make_the_same_bytes(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(ArchiveSettings.from_environment(), arch=Arch.ARM64)
    packages = archive.resolve(["linux-image-arm64"], dependencies=True, reporter=REPORTER)
    parts = [package for package in packages if package.name.startswith("linux-image-")]
    debs = archive.fetch(parts, REPORTER)
    before = os.umask(0o077)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        made = put_kernel(
            "debian",
            Arch.ARM64,
            debs,
            Store(tmp_path / "far" / "away" / "store"),
            labels=real.kernel.image.labels,
            task=Steps(),
        )
    finally:
        os.umask(before)
        monkeypatch.delenv("TZ")
        time.tzset()
    assert made.image.digest == real.kernel.image.digest
    assert made.kernel == real.kernel.kernel


def test_firmware_comes_from_the_packages_that_the_definition_lists(
    real: Real, tmp_path: Path
) -> None:
    """The free firmware of a USB wireless stick, from Debian's main."""
    settings = ArchiveSettings.from_environment()
    without = module_plan(real.kernel, ["ath9k_htc"], real.store)
    assert without.firmware == ()
    assert "ath9k_htc/htc_9271-1.4.0.fw" in without.missing_firmware
    text = real.found.definition.model_dump()
    text["debian"]["firmware"] = ("firmware-ath9k-htc",)
    found = FoundKernel(Kernel.model_validate(text), real.found.path)
    kernel = prepare_kernel(found, Arch.ARM64, real.store, settings, REPORTER)
    assert kernel.image.digest != real.kernel.image.digest
    plan = module_plan(kernel, ["ath9k_htc"], real.store)
    assert "ath9k_htc/htc_9271-1.4.0.fw" in plan.firmware
    tree = {entry.path: entry for entry in module_tree(kernel, ["ath9k_htc"], real.store)}
    assert tree["usr/lib/firmware/ath9k_htc/htc_9271-1.4.0.fw"].size > 10_000
    assert real.again() == real.kernel


def test_an_architecture_without_a_package_is_told(real: Real) -> None:
    settings = ArchiveSettings.from_environment()
    with pytest.raises(UserError, match=r"kernel debian: no package for arm$") as caught:
        prepare_kernel(real.found, Arch.ARM, real.store, settings, REPORTER)
    assert caught.value.hint is not None and caught.value.hint.endswith("has arm64")


INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /usr/bin
/bin/busybox --install -s /usr/bin
export PATH=/usr/bin
mount -t proc proc /proc
while read path; do
    insmod "$path" || echo "test: failed $path"
done < /etc/farm/modules
echo "test: loaded $(cut -d' ' -f1 /proc/modules | sort | tr '\\n' ' ')"
for name in ext4 vfat overlay virtio_net; do rmmod -a $name; done
rmmod jbd2 mbcache crc16 net_failover failover fat
for name in ext4 fs-vfat overlay virtio_pci; do
    modprobe $name || echo "test: failed modprobe $name"
done
echo "test: again $(cut -d' ' -f1 /proc/modules | sort | tr '\\n' ' ')"
echo "test: taint $(cat /proc/sys/kernel/tainted)"
poweroff -f
"""


def newc(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the kernel's own format (Documentation/driver-api/early-userspace)."""
    out = b""
    folders = {
        p: (0o40755, b"") for name in files for p in map(str, Path(name).parents) if p != "."
    }
    links = {"lib": (0o120777, b"usr/lib")}
    listed = {**dict(sorted(folders.items())), **links, **files, "TRAILER!!!": (0, b"")}
    for inode, (name, (mode, data)) in enumerate(listed.items(), 1):
        numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers)
        out += head + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


@pytest.mark.boot
def test_the_modules_load_in_a_guest(real: Real, tmp_path: Path) -> None:
    archive = Archive(ArchiveSettings.from_environment(), arch=Arch.ARM64)
    packages = archive.resolve(["busybox-static"], dependencies=False, reporter=REPORTER)
    (deb,) = archive.fetch(packages, REPORTER)
    busybox = next(e for e in package_tree(deb) if e.path.endswith("bin/busybox"))
    wanted = ["virtio_net", "vfat", "ext4", "overlay", "nls_ascii", "virtio_pci"]
    tree = module_tree(real.kernel, wanted, real.store)
    files = {e.path: (0o100644, e.read()) for e in tree if e.kind is Kind.FILE}
    files["bin/busybox"] = (0o100755, busybox.read())
    files["init"] = (0o100755, INIT.encode())
    (tmp_path / "initrd").write_bytes(newc(files))
    (tmp_path / "kernel").write_bytes(real.store.read_blob(real.kernel.kernel.digest))
    argv = "qemu-system-aarch64 -M virt -cpu cortex-a53 -m 512 -display none -serial stdio"
    argv += " -monitor none -nic none -no-reboot -kernel kernel -initrd initrd -append"
    done = run([*argv.split(), "console=ttyAMA0 loglevel=4 panic=-1"], cwd=tmp_path, timeout_s=240)
    said = [
        line.partition("test: ")[2].split()
        for line in done.stdout.decode(errors="replace").splitlines()
        if "test: " in line
    ]
    order = sorted(module_plan(real.kernel, wanted, real.store).load_order)
    assert len(files[MODULE_LIST][1].splitlines()) == len(order)
    # Unsigned modules taint: 8192 is E.
    assert said[0] == ["loaded", *order]
    assert [words[0] for words in said] == ["loaded", "again", "taint"]
    assert {"ext4", "jbd2", "vfat", "fat", "overlay"} <= set(said[1])
    assert said[2] == ["taint", "8192"]
