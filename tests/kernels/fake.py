# SPDX-License-Identifier: Apache-2.0
"""Tiny kernels for tests: real ELF modules, in real Debian packages, read by the real depmod."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from farm.core.run import run

RELEASE = "6.99.1+farm-arm64"
SIGNATURE_MAGIC = b"~Module signature appended~\n"


def elf(*, modinfo: Sequence[str], needs: Sequence[str] = (), exports: Sequence[str] = ()) -> bytes:
    """An arm64 ELF object that depmod takes for a module.

    Args:
        modinfo: KEY=VALUE strings.
        needs: symbols that others must export.
        exports: symbols that it exports.
    """
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in needs)
    symbols = bytes(24)
    at = 1
    for name in needs:
        symbols += struct.pack("<IBBHQQ", at, 1 << 4, 0, 0, 0, 0)
        at += len(name) + 1
    sections = [
        ("", 0, b"", 0, 0, 0),
        (".modinfo", 1, b"".join(item.encode() + b"\0" for item in modinfo), 0, 0, 0),
        ("__ksymtab_strings", 1, b"".join(name.encode() + b"\0" for name in exports), 0, 0, 0),
        (".symtab", 2, symbols, 4, 1, 24),
        (".strtab", 3, strings, 0, 0, 0),
    ]
    names = b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    sections.append((".shstrtab", 3, names, 0, 0, 0))
    body = b""
    headers = b""
    for name, kind, data, link, info, size in sections:
        offset = 64 + len(body)
        where = names.index(name.encode() + b"\0")
        headers += struct.pack(
            "<IIQQQQIIQQ", where, kind, 0, 0, offset, len(data), link, info, 8, size
        )
        body += data + bytes(-len(data) % 8)
    start = b"\x7fELF\x02\x01\x01" + bytes(9)
    start += struct.pack("<HHIQQQIHHHHHH", 1, 183, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 6, 5)
    return start + body + headers


def signed(module: bytes, *, signature: bytes = b"s" * 70, signer: bytes = b"") -> bytes:
    """A module with a signature appended, as the kernel's sign-file does it."""
    info = struct.pack(">BBBBB3xI", 0, 0, 2, len(signer), 0, len(signature))
    return module + signer + signature + info + SIGNATURE_MAGIC


def packed(data: bytes, suffix: str) -> bytes:
    """Compress as a file of that suffix is."""
    if suffix.endswith(".xz"):
        return lzma.compress(data, check=lzma.CHECK_CRC32)
    if suffix.endswith(".zst"):
        return zstandard.ZstdCompressor().compress(data)
    if suffix.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return data


@dataclass(frozen=True)
class FakeModule:
    """One module of a fake kernel: its path below `kernel/`, and what its file says."""

    path: str
    modinfo: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()

    def elf(self) -> bytes:
        base = self.path.rpartition("/")[2].partition(".")[0].replace("-", "_")
        return elf(
            modinfo=(f"name={base}", "license=GPL", *self.modinfo),
            needs=self.needs,
            exports=self.exports,
        )


MODULES = (
    FakeModule("lib/libcrc.ko.xz", ("softdep=pre: crypto-sum",), exports=("crc",)),
    FakeModule("crypto/sum_generic.ko.xz", ("alias=crypto-sum", "alias=crypto-sum-generic")),
    FakeModule("crypto/sum-neon.ko.xz", ("alias=crypto-sum",)),
    FakeModule("fs/mbcache.ko.xz", exports=("mb",)),
    FakeModule("fs/jbd.ko.zst", needs=("crc",), exports=("journal",)),
    FakeModule("fs/ext9.ko.xz", needs=("journal", "mb"), exports=()),
    FakeModule(
        "drivers/net/virtio-card.ko.xz",
        ("softdep=pre: builtin_thing nowhere post: late", "alias=virtio:d00000001v*"),
    ),
    FakeModule("drivers/net/late.ko", exports=("late",)),
    FakeModule(
        "drivers/net/wifi.ko.xz",
        ("firmware=vendor/wifi.bin", "firmware=vendor/old.bin", "firmware=vendor/cal-*.bin"),
    ),
    # Each wants the other first: the hard need wins.
    FakeModule("drivers/loop/one.ko.xz", ("softdep=pre: two",), exports=("one",)),
    FakeModule("drivers/loop/two.ko.xz", needs=("one",)),
)


@dataclass(frozen=True)
class FakeKernel:
    """A kernel package and a firmware package, to be written as .debs."""

    modules: tuple[FakeModule, ...] = MODULES
    release: str = RELEASE
    config: str = "CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n"
    kernel: bytes = b"MZ" + bytes(54) + b"ARMd" + b"kernel " * 5000
    merged: bool = True
    built_in: tuple[str, ...] = ("kernel/drivers/builtin-thing.ko",)
    device_trees: dict[str, bytes] = field(
        default_factory=lambda: {
            "broadcom/bcm2711-rpi-4-b.dtb": b"\xd0\x0d\xfe\xed four",
            "broadcom/bcm2837-rpi-3-b.dtb": b"\xd0\x0d\xfe\xed three",
        }
    )

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write both packages into a folder and return their paths."""
        tree = folder / "kernel"
        library = tree / ("usr/lib" if self.merged else "lib")
        modules = library / "modules" / self.release
        for module in self.modules:
            _put(modules / "kernel" / module.path, packed(signed(module.elf()), module.path))
        order = "".join(f"kernel/{m.path[: m.path.index('.ko')]}.ko\n" for m in self.modules)
        _put(modules / "modules.order", order.encode())
        _put(modules / "modules.builtin", "".join(f"{p}\n" for p in self.built_in).encode())
        _put(modules / "modules.builtin.modinfo", b"builtin_thing.alias=crypto-inside\0")
        _put(tree / "boot" / f"vmlinuz-{self.release}", self.kernel)
        _put(tree / "boot" / f"config-{self.release}", self.config.encode())
        for name, data in self.device_trees.items():
            _put(tree / "usr" / "lib" / f"linux-image-{self.release}" / name, data)
        firmware = folder / "firmware"
        vendor = firmware / "usr" / "lib" / "firmware" / "vendor"
        _put(vendor / "real.bin", b"firmware")
        _put(vendor / "cal-1.bin.xz", packed(b"calibration", ".xz"))
        _put(vendor / "unasked.bin", b"for another driver")
        (vendor / "wifi.bin").symlink_to("real.bin")
        return _deb(tree, folder, "linux-image-fake"), _deb(firmware, folder, "firmware-fake")


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _deb(tree: Path, folder: Path, name: str) -> Path:
    _put(
        tree / "DEBIAN" / "control",
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a test <t@example.org>\n"
        "Description: for a test\n".encode(),
    )
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    out = folder / f"{name}.deb"
    run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, out], timeout_s=60)
    return out
