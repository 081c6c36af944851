# SPDX-License-Identifier: Apache-2.0
"""A kernel's packages made into an image of the store, with the real dpkg-deb and depmod."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.errors import BuildError
from farm.core.progress import SilentReporter
from farm.kernels.prepare import STEPS, KernelImage, put_kernel
from farm.kernels.unpacked import UnpackedKernel
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind
from tests.kernels.fake import RELEASE, FakeKernel, FakeModule


class Steps:
    """Keeps what a task is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self.told.append((done, total))


def put(fake: FakeKernel, folder: Path, arch: Arch = Arch.ARM64) -> tuple[Store, KernelImage]:
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "cache" / "store")
    debs = fake.write(folder / "debs")
    with SilentReporter().task("") as task:
        return store, put_kernel("fake", arch, debs, store, labels={}, task=task)


def files(store: Store, made: KernelImage) -> dict[str, Entry]:
    return {e.path: e for e in store.tree(made.image) if e.kind is Kind.FILE}


def kernel_tar(store: Store, made: KernelImage, folder: Path) -> dict[str, tarfile.TarInfo]:
    path = folder / "kernel.tar"
    path.write_bytes(files(store, made)["kernel.tar"].read())
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


@pytest.fixture
def other_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_the_image_has_linuxkits_layout(tmp_path: Path) -> None:
    fake = FakeKernel()
    store, made = put(fake, tmp_path)
    found = files(store, made)
    assert set(found) == {
        "kernel",
        "kernel.tar",
        "dtbs/broadcom/bcm2711-rpi-4-b.dtb",
        "dtbs/broadcom/bcm2837-rpi-3-b.dtb",
    }
    assert made.release == RELEASE
    assert gzip.decompress(found["kernel"].read()) == fake.kernel
    assert store.read_blob(made.kernel.digest) == found["kernel"].read()
    members = kernel_tar(store, made, tmp_path)
    assert f"lib/modules/{RELEASE}/kernel/fs/jbd.ko.zst" in members
    assert f"lib/modules/{RELEASE}/modules.dep" in members
    assert members["lib/firmware/vendor/wifi.bin"].issym()
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 1735689600)}


def test_nothing_of_the_machine_is_in_the_bytes(
    tmp_path: Path, other_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, strange = put(FakeKernel(), tmp_path / "one" / "deep")
    os.umask(0o002)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        _, plain = put(FakeKernel(), tmp_path / "two")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert strange.image.digest == plain.image.digest
    assert strange.kernel == plain.kernel


def test_a_suite_before_the_usr_merge_gives_the_same_layout(tmp_path: Path) -> None:
    _, merged = put(FakeKernel(), tmp_path / "merged")
    _, unmerged = put(FakeKernel(merged=False), tmp_path / "unmerged")
    assert merged.image.digest == unmerged.image.digest


@pytest.mark.parametrize(
    ("config", "codec"),
    [
        ("CONFIG_RD_ZSTD=y\n", "zstd"),
        ("CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n", "gzip"),
        ("CONFIG_RD_ZSTD=yes\n", "gzip"),
    ],
)
def test_the_codec_is_what_the_kernel_unpacks(tmp_path: Path, config: str, codec: str) -> None:
    _, made = put(FakeKernel(config=config), tmp_path)
    assert made.codec == codec


def test_a_kernel_that_unpacks_itself_stays_as_it_is(tmp_path: Path) -> None:
    store, made = put(FakeKernel(kernel=b"bzImage"), tmp_path, Arch.X86_64)
    assert store.read_blob(made.kernel.digest) == b"bzImage"
    packed = gzip.compress(b"Image")
    store, made = put(FakeKernel(kernel=packed), tmp_path / "packed")
    assert store.read_blob(made.kernel.digest) == packed


def test_an_arm64_kernel_for_uefi_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is no arm64 Image") as caught:
        put(FakeKernel(kernel=b"MZ\0\0zimg" + bytes(200)), tmp_path)
    assert caught.value.hint is not None and "EFI_ZBOOT" in caught.value.hint


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    steps = Steps()
    debs = FakeKernel().write(tmp_path / "debs")
    put_kernel("fake", Arch.ARM64, debs, Store(tmp_path / "s"), labels={}, task=steps)
    assert steps.told == [(step, STEPS) for step in range(STEPS + 1)]


def test_labels_are_kept(tmp_path: Path) -> None:
    debs = FakeKernel().write(tmp_path / "debs")
    store = Store(tmp_path / "s")
    labels = {"io.farm.kernel": json.dumps({"a": 1})}
    put_kernel("fake", Arch.ARM64, debs, store, labels=labels, task=Steps())
    found = store.find("farm/kernels/fake", Arch.ARM64)
    assert found is not None and dict(found.labels) == labels


def test_packages_without_a_kernel_or_with_two_are_refused(tmp_path: Path) -> None:
    kernel, firmware = FakeKernel().write(tmp_path / "one")
    other, _ = FakeKernel(release="6.99.2").write(tmp_path / "two")
    store = Store(tmp_path / "s")
    with pytest.raises(BuildError, match="have 0 files boot/vmlinuz"):
        put_kernel("fake", Arch.ARM64, [firmware], store, labels={}, task=Steps())
    with pytest.raises(BuildError, match="have 2 files boot/vmlinuz"):
        put_kernel("fake", Arch.ARM64, [kernel, other], store, labels={}, task=Steps())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("kernel-")] == []


def test_modules_in_a_package_of_their_own_are_missed_with_a_hint(tmp_path: Path) -> None:
    fake = FakeKernel()
    fake.write(tmp_path / "debs")
    tree = tmp_path / "debs" / "kernel"
    for path in sorted((tree / "usr/lib/modules").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tree / "usr/lib/modules").rmdir()
    with pytest.raises(BuildError, match=r"have no lib/modules/6\.99\.1"):
        UnpackedKernel.find(tree, "fake").run_depmod()


def test_modules_that_depmod_cannot_read_are_not_lost_in_silence(tmp_path: Path) -> None:
    broken = replace(FakeKernel(), modules=(FakeModule("lib/strange.ko.bz2"),))
    _, made = put(broken, tmp_path / "ignored")
    assert made.release == RELEASE  # bz2 is no module's suffix, for the kernel neither
    fake = FakeKernel(modules=(FakeModule("lib/strange.ko.xz"),))
    fake.write(tmp_path / "debs")
    tree = tmp_path / "debs" / "kernel"
    module = next(tree.rglob("strange.ko.xz"))
    module.rename(module.with_name("strange.ko.gz"))
    with pytest.raises(BuildError, match="depmod"):
        UnpackedKernel.find(tree, "fake").run_depmod()
