# SPDX-License-Identifier: Apache-2.0
"""A kernel as its packages unpack it: finding its parts, and depmod over its modules.

Layout source: Debian's linux-image packages (`boot/vmlinuz-RELEASE`, `boot/config-RELEASE`,
`usr/lib/linux-image-RELEASE/**.dtb`, `[usr/]lib/modules/RELEASE`) and firmware packages
(`[usr/]lib/firmware`).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from farm.core.arch import Arch
from farm.core.errors import BuildError
from farm.core.run import run
from farm.kernels.ko import module_name
from farm.oci.tree import Entry, Kind, Slice, Tree, make_tree

GZIP_LEVEL = 6
"""Of Debian's arm64 kernel level 9 takes 0.3 % off the size, for three times the time."""

_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._~-]{0,63}")
_ARM64_MAGIC_AT, _ARM64_MAGIC = 56, b"ARMd"
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_KERNEL_BYTES = 512 << 20


@dataclass(frozen=True)
class UnpackedKernel:
    """A kernel's files in a folder.

    Args:
        root: the folder that its packages were unpacked into.
        release: what `uname -r` says of it.
    """

    root: Path
    release: str

    @classmethod
    def find(cls, root: Path, name: str) -> UnpackedKernel:
        """Find the one kernel below `root`.

        Raises:
            BuildError: there is none, or several, or its release is no plain name.
        """
        found = sorted(path.name.removeprefix("vmlinuz-") for path in root.glob("boot/vmlinuz-*"))
        if len(found) != 1:
            raise BuildError(
                f"kernel {name}: its packages have {len(found)} files boot/vmlinuz-*; one is needed"
                + "".join(f"\n    vmlinuz-{release}" for release in found),
                hint="name the package of one kernel, or a meta package that depends on it",
            )
        if not _RELEASE.fullmatch(found[0]):
            raise BuildError(f"kernel {name}: {found[0]!r} is no kernel release")
        return cls(root, found[0])

    def codec(self) -> Literal["zstd", "gzip"]:
        """What its initramfs may be compressed with: zstd, else gzip.

        Raises:
            BuildError: its configuration is missing.
        """
        path = self.root / "boot" / f"config-{self.release}"
        config = read(path, what=f"kernel {self.release}: its configuration")
        return "zstd" if b"CONFIG_RD_ZSTD=y" in config.splitlines() else "gzip"

    def kernel(self, arch: Arch) -> bytes:
        """The kernel as a boot loader takes it; on arm64 the Image, compressed by gzip.

        arm64's Image does not unpack itself, but the Raspberry Pi's firmware, U-Boot and QEMU
        unpack gzip. The other architectures' files unpack themselves and stay as they are.

        Raises:
            BuildError: it is no kernel that these load.
        """
        path = self.root / "boot" / f"vmlinuz-{self.release}"
        data = read(path, what=f"kernel {self.release}")
        if arch is not Arch.ARM64 or data.startswith(_GZIP_MAGIC):
            return data
        if data[_ARM64_MAGIC_AT : _ARM64_MAGIC_AT + 4] != _ARM64_MAGIC:
            raise BuildError(
                f"kernel {self.release}: {path.name} is no arm64 Image",
                hint="a kernel built with CONFIG_EFI_ZBOOT boots from UEFI only: take another",
            )
        return gzip_image(data)

    def device_trees(self) -> Tree:
        """The device trees, as `dtbs/FOLDER/NAME.dtb`; empty where it has none."""
        base = self.root / "usr" / "lib" / f"linux-image-{self.release}"
        return make_tree(
            _file(f"dtbs/{path.relative_to(base).as_posix()}", path)
            for path in _files(base)
            if path.suffix == ".dtb"
        )

    def modules(self) -> Tree:
        """Modules, depmod's lists and firmware, as `lib/modules/RELEASE` and `lib/firmware`."""
        base = self.modules_folder()
        entries = [
            _file(f"lib/modules/{self.release}/{path.relative_to(base).as_posix()}", path)
            for path in _files(base)
        ]
        for folder in (self.root / "usr" / "lib" / "firmware", self.root / "lib" / "firmware"):
            for path in _files(folder, links=True):
                name = f"lib/firmware/{path.relative_to(folder).as_posix()}"
                entries.append(_link(name, path) if path.is_symlink() else _file(name, path))
        return make_tree([Entry(f"lib/modules/{self.release}", Kind.FOLDER, 0o755), *entries])

    def modules_folder(self) -> Path:
        """Where its modules lie, which differs between suites.

        Raises:
            BuildError: it has none.
        """
        for library in ("usr/lib", "lib"):
            folder = self.root / library / "modules" / self.release
            if folder.is_dir():
                return folder
        raise BuildError(
            f"kernel {self.release}: its packages have no lib/modules/{self.release}",
            hint="name the package that has them, beside the kernel's own",
        )

    def run_depmod(self) -> None:
        """Write depmod's lists beside the modules, without this machine's own depmod settings.

        Raises:
            BuildError: depmod failed, or does not understand these modules.
            MissingProgramError: kmod is not installed.
        """
        # Which of the two depmod looks into was fixed when it was built.
        folder = self.modules_folder()
        for library in ("lib", "usr/lib"):
            other = self.root / library / "modules"
            if not other.exists():
                other.parent.mkdir(parents=True, exist_ok=True)
                other.symlink_to(folder.parent)
        empty = self.root / "depmod.d"
        empty.mkdir()
        what = f"kernel {self.release}: depmod"
        run(["depmod", "-b", self.root, "-C", empty, self.release], timeout_s=600, what=what)
        # Of a compression that it was built without, depmod skips the files without a word.
        listed = (folder / "modules.dep").read_text(errors="replace").splitlines()
        known = {line.partition(":")[0] for line in listed}
        for path in _files(folder):
            name = path.relative_to(folder).as_posix()
            if module_name(name) is not None and name not in known:
                raise BuildError(
                    f"{what} skipped {name}",
                    hint="`depmod --version` says which compressions it was built with",
                )


def gzip_image(image: bytes) -> bytes:
    """Compress by gzip, without time or name in the header."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    return packer.compress(image) + packer.flush()


def read(path: Path, *, what: str) -> bytes:
    """Read a file of the kernel.

    Raises:
        BuildError: it is missing, too large or no plain file.
    """
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_KERNEL_BYTES:
            raise BuildError(f"{what}: {path.name} is a link or too large")
        return path.read_bytes()
    except OSError as error:
        raise BuildError(f"{what}: {path.name}: {error.strerror}") from error


def _files(base: Path, *, links: bool = False) -> Iterator[Path]:
    """All plain files below a folder, sorted; links are followed nowhere."""
    folders = [base]
    while folders:
        folder = folders.pop()
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                if links:
                    yield path
            elif path.is_dir():
                folders.append(path)
            elif path.is_file():
                yield path


def _file(name: str, path: Path) -> Entry:
    return Entry(name, Kind.FILE, 0o644, data=Slice(path, 0, path.stat().st_size))


def _link(name: str, path: Path) -> Entry:
    return Entry(name, Kind.SYMLINK, 0o777, target=path.readlink().as_posix())
