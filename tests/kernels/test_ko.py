# SPDX-License-Identifier: Apache-2.0
"""A module's file: names, compressions, what it says of itself, its signature."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.errors import BuildError
from farm.core.run import run
from farm.kernels import ko
from tests.kernels.fake import SIGNATURE_MAGIC, elf, packed, signed


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernel/drivers/mmc/host/sdhci-iproc.ko.xz", "sdhci_iproc"),
        ("vfat.ko", "vfat"),
        ("a/b.ko.zst", "b"),
        ("a/b.ko.gz", "b"),
        ("a/b.ko/modules.dep", None),
        ("modules.order", None),
    ],
)
def test_a_modules_name_is_its_files_name(path: str, name: str | None) -> None:
    assert ko.module_name(path) == name


@pytest.mark.parametrize("suffix", ko.SUFFIXES)
def test_every_compression_is_unpacked(suffix: str) -> None:
    assert ko.uncompressed(packed(b"module " * 999, suffix), f"m{suffix}") == b"module " * 999


@pytest.mark.parametrize("suffix", ko.SUFFIXES[1:])
@pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: b"no archive at all"])
def test_a_damaged_file_is_named(suffix: str, harm: object) -> None:
    assert callable(harm)
    with pytest.raises(BuildError, match=rf"^m{suffix}: cannot be unpacked"):
        ko.uncompressed(harm(packed(b"module " * 999, suffix)), f"m{suffix}")


@pytest.mark.parametrize("suffix", ko.SUFFIXES[1:])
def test_a_file_that_unpacks_without_end_is_refused(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ko, "MAX_MODULE_BYTES", 1 << 20)
    with pytest.raises(BuildError, match="unpacks to more than 1 MiB"):
        ko.uncompressed(packed(bytes(9 << 20), suffix), f"m{suffix}")


def test_what_modinfo_says_is_read_as_modinfo_reads_it(tmp_path: Path) -> None:
    module = elf(
        modinfo=["name=wifi", "firmware=a/b.bin", "license=GPL", "firmware=c.bin", "alias=x=y"]
    )
    found = ko.modinfo(module, "wifi.ko")
    assert found["firmware"] == ("a/b.bin", "c.bin")
    assert found["alias"] == ("x=y",)
    path = tmp_path / "wifi.ko"
    path.write_bytes(module)
    said = run(["modinfo", "-0", "-F", "firmware", path]).stdout
    assert tuple(said.decode().rstrip("\0").split("\0")) == found["firmware"]


def test_a_file_that_is_no_module_is_refused() -> None:
    for data in (b"", b"\x7fELF", elf(modinfo=[])[:200], Path(__file__).read_bytes()):
        with pytest.raises(BuildError, match=r"^m\.ko: not a kernel module"):
            ko.modinfo(data, "m.ko")


@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_no_damage_to_a_module_is_a_crash(at: int, bytes_there: bytes) -> None:
    module = elf(modinfo=["firmware=a"], needs=["b"])
    damaged = module[:at] + bytes_there + module[at + len(bytes_there) :]
    try:
        ko.modinfo(damaged, "m.ko")
    except BuildError as error:
        assert error.message.startswith("m.ko: not a kernel module")


def test_a_signature_is_taken_off_and_nothing_else() -> None:
    module = elf(modinfo=["name=m"])
    assert ko.without_signature(signed(module), "m.ko") == module
    assert ko.without_signature(signed(module, signer=b"somebody"), "m.ko") == module
    assert ko.without_signature(module, "m.ko") == module


def test_a_signature_longer_than_its_file_is_refused() -> None:
    info = struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, 1 << 30)
    with pytest.raises(BuildError, match="longer than the file"):
        ko.without_signature(b"m" + info + SIGNATURE_MAGIC, "m.ko")
    with pytest.raises(BuildError, match="cut short"):
        ko.without_signature(SIGNATURE_MAGIC, "m.ko")


def test_xz_of_an_unknown_filter_is_an_error_of_the_file() -> None:
    alone = lzma.compress(b"x" * 99, format=lzma.FORMAT_ALONE)
    with pytest.raises(BuildError, match="cannot be unpacked"):
        ko.uncompressed(alone, "m.ko.xz")
