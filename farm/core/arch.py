# SPDX-License-Identifier: Apache-2.0
"""Architectures: one canonical name, the kernel's, and what everybody else calls it."""

from __future__ import annotations

from enum import StrEnum

from farm.core.errors import UserError


class Arch(StrEnum):
    """An architecture by the kernel's name for it."""

    ARM64 = "arm64"
    ARM = "arm"
    X86_64 = "x86_64"

    @classmethod
    def parse(cls, name: str) -> Arch:
        """Return the architecture that `name` means, in anybody's spelling.

        Raises:
            UserError: no architecture has that name.
        """
        try:
            return _NAMES[name.lower()]
        except KeyError:
            known = ", ".join(sorted(_NAMES))
            raise UserError(f"unknown architecture {name!r}", hint=f"known: {known}") from None

    def to_debian(self) -> str:
        """Debian's name, as in package names."""
        return {Arch.ARM64: "arm64", Arch.ARM: "armhf", Arch.X86_64: "amd64"}[self]

    def to_oci(self) -> tuple[str, str | None]:
        """OCI's `architecture` and `variant`."""
        return {
            Arch.ARM64: ("arm64", None),
            Arch.ARM: ("arm", "v7"),
            Arch.X86_64: ("amd64", None),
        }[self]

    def to_qemu(self) -> str:
        """The suffix of `qemu-system-`."""
        return {Arch.ARM64: "aarch64", Arch.ARM: "arm", Arch.X86_64: "x86_64"}[self]

    def to_gnu(self) -> str:
        """The GNU triplet, as in library folders and cross compilers."""
        return {
            Arch.ARM64: "aarch64-linux-gnu",
            Arch.ARM: "arm-linux-gnueabihf",
            Arch.X86_64: "x86_64-linux-gnu",
        }[self]


_NAMES = {
    "arm64": Arch.ARM64,
    "aarch64": Arch.ARM64,
    "arm": Arch.ARM,
    "armv7": Arch.ARM,
    "armv7l": Arch.ARM,
    "armhf": Arch.ARM,
    "x86_64": Arch.X86_64,
    "amd64": Arch.X86_64,
}
