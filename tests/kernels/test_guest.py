# SPDX-License-Identifier: Apache-2.0
"""What an image takes from a kernel: modules in order, firmware, device trees; and its memory."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.core.run import run
from farm.kernels import MODULE_LIST, PreparedKernel, device_tree, module_plan, module_tree
from farm.kernels.prepare import put_kernel
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, Tree, make_tree
from tests.kernels.fake import MODULES, RELEASE, SIGNATURE_MAGIC, FakeKernel
from tests.kernels.test_prepare import Steps

BASE = f"usr/lib/modules/{RELEASE}"
ELF = {module.path.rpartition("/")[2].partition(".")[0]: module.elf() for module in MODULES}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, PreparedKernel]:
    folder = tmp_path_factory.mktemp("kernel")
    store = Store(folder / "store")
    debs = FakeKernel().write(folder / "debs")
    found = put_kernel("fake", Arch.ARM64, debs, store, labels={}, task=Steps())
    return store, PreparedKernel(
        "fake", found.release, Arch.ARM64, found.image, found.codec, found.kernel, True
    )


def contents(tree: Tree) -> dict[str, bytes]:
    return {entry.path: entry.read() for entry in tree if entry.kind is Kind.FILE}


def test_modules_come_unpacked_in_load_order(made: tuple[Store, PreparedKernel]) -> None:
    store, prepared = made
    found = contents(module_tree(prepared, ["ext9", "virtio_card"], store))
    listed = found[MODULE_LIST].decode().splitlines()
    assert listed == [
        f"/{BASE}/kernel/{path}.ko"
        for path in (
            "crypto/sum_generic",
            "lib/libcrc",
            "fs/jbd",
            "fs/mbcache",
            "fs/ext9",
            "drivers/net/virtio-card",
            "drivers/net/late",
        )
    ]
    assert found[f"{BASE}/kernel/fs/jbd.ko"] == ELF["jbd"]
    assert found[f"{BASE}/kernel/drivers/net/late.ko"] == ELF["late"]
    assert {path.partition("/")[0] for path in found} == {"etc", "usr"}


def test_signatures_stay_where_the_definition_wants_them(
    made: tuple[Store, PreparedKernel],
) -> None:
    store, prepared = made
    kept = contents(module_tree(replace(prepared, strip_signatures=False), ["mbcache"], store))
    module = kept[f"{BASE}/kernel/fs/mbcache.ko"]
    assert module.startswith(ELF["mbcache"]) and module.endswith(SIGNATURE_MAGIC)


def test_the_second_answer_opens_no_archive(
    made: tuple[Store, PreparedKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, prepared = made
    first = module_tree(prepared, ["ext9", "wifi"], store)
    tree = device_tree(prepared, "broadcom/bcm2711-rpi-4-b.dtb", store)

    def opened(self: Store, image: object) -> Tree:
        raise AssertionError("the kernel's image was opened")

    monkeypatch.setattr(Store, "tree", opened)
    fresh = Store(store.path)
    again = module_tree(prepared, ["ext9", "wifi"], fresh)
    assert contents(again) == contents(first)
    assert [entry.path for entry in again] == [entry.path for entry in first]
    assert module_plan(prepared, ["ext9", "wifi"], fresh).firmware == (
        "vendor/cal-1.bin.xz",
        "vendor/wifi.bin",
    )
    assert device_tree(prepared, "broadcom/bcm2711-rpi-4-b.dtb", fresh) == tree


def test_what_was_removed_from_the_store_is_made_again(
    made: tuple[Store, PreparedKernel], tmp_path: Path
) -> None:
    store, prepared = made
    copy = Store(tmp_path / "store")
    shutil.copytree(store.path, copy.path)
    first = contents(module_tree(prepared, ["jbd"], copy))
    keep = {prepared.image.digest, *(layer.digest for layer in prepared.image.layers)}
    for path in (copy.path / "blobs" / "sha256").iterdir():
        if f"sha256:{path.name}" not in keep and path.read_bytes()[:1] != b"{":
            path.unlink()
    assert contents(module_tree(prepared, ["jbd"], Store(copy.path))) == first


def test_firmware_follows_the_modules_that_name_it(made: tuple[Store, PreparedKernel]) -> None:
    store, prepared = made
    found = contents(module_tree(prepared, ["wifi"], store))
    assert found["usr/lib/firmware/vendor/wifi.bin"] == b"firmware"
    assert "usr/lib/firmware/vendor/cal-1.bin.xz" in found
    assert "usr/lib/firmware/vendor/unasked.bin" not in found
    plan = module_plan(prepared, ["wifi", "builtin-thing"], store)
    assert plan.missing_firmware == ("vendor/old.bin",)
    assert plan.built_in == ("builtin-thing",)
    assert plan.load_order == ("wifi",)


def test_no_modules_are_a_tree_too(made: tuple[Store, PreparedKernel]) -> None:
    store, prepared = made
    assert contents(module_tree(prepared, [], store))[MODULE_LIST] == b""


def test_unknown_names_say_what_is_near(made: tuple[Store, PreparedKernel]) -> None:
    store, prepared = made
    with pytest.raises(UserError, match="no module 'ext8'") as caught:
        module_tree(prepared, ["ext8"], store)
    assert caught.value.hint == "near 'ext8' are ext9"
    with pytest.raises(UserError, match=r"has no device tree 'bcm2711-rpi-4-b\.dtb'") as caught:
        device_tree(prepared, "bcm2711-rpi-4-b.dtb", store)
    assert caught.value.hint is not None and "broadcom/bcm2711-rpi-4-b.dtb" in caught.value.hint


def test_a_kernel_image_of_another_make_is_told_what_it_lacks(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    kernel = Entry("kernel", Kind.FILE, 0o644, data=b"Image")
    image = store.put_image(ref="own", arch=Arch.ARM64, trees=[make_tree([kernel])], labels={})
    blob = store.put_blob(b"Image", "application/octet-stream")
    prepared = PreparedKernel("own", RELEASE, Arch.ARM64, image, "gzip", blob, False)
    with pytest.raises(BuildError, match=r"has no /kernel\.tar"):
        module_tree(prepared, ["a"], store)


def test_the_real_modprobe_finds_its_way_through_the_reduced_lists(
    made: tuple[Store, PreparedKernel], tmp_path: Path
) -> None:
    """kmod reads binary lists that depmod makes; the text ones are what busybox reads."""
    store, prepared = made
    for path, data in contents(module_tree(prepared, ["ext9", "virtio_card"], store)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "lib").symlink_to("usr/lib")
    run(["depmod", "-b", tmp_path, "-C", tmp_path, RELEASE])
    said = run(
        ["modprobe", "-d", tmp_path, "-S", RELEASE, "-C", tmp_path, "--show-depends", "ext9"]
    ).stdout.decode()
    loaded = [line.split()[1].rpartition("/")[2] for line in said.splitlines()]
    listed = (tmp_path / MODULE_LIST).read_text().splitlines()
    assert loaded == [path.rpartition("/")[2] for path in listed][:5]
