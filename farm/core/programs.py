# SPDX-License-Identifier: Apache-2.0
"""Which program comes from which Debian package, and what farm needs it for.

`farm doctor`, the set-up script and the error about an absent program read this one table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program that farm runs.

    Args:
        name: as it is called.
        package: the Debian package that has it.
        purpose: what farm does with it, for a person.
        version_argv: arguments that print its version, or () where there are none.
        minimum: the least version that works, or None.
        suite: the suite to take it from where Debian 12's is older than `minimum`.
    """

    name: str
    package: str
    purpose: str
    version_argv: tuple[str, ...] = ("--version",)
    minimum: str | None = None
    suite: str | None = None


PYTHON_PACKAGES = (
    ("python3", "runs farm"),
    ("python3-venv", "keeps farm's Python packages apart from the system's"),
    ("ca-certificates", "checks the servers that Python packages come from"),
    ("debian-archive-keyring", "checks the signatures of Debian's archive"),
    ("gpgv", "checks the signatures of Debian's archive"),
)
"""Packages, beside the programs', that a machine needs before it can run farm, and why."""

TEST_PACKAGES = (
    ("busybox-static", "tests: the shell that the guest's scripts run in"),
    ("dosfstools", "tests: another opinion on FAT file systems"),
    ("mtools", "tests: another opinion on FAT file systems"),
    ("fdisk", "tests: another opinion on partition tables"),
    ("cpio", "tests: another opinion on cpio archives"),
    ("iproute2", "tests: hosts of their own in network namespaces"),
)
"""What only the tests need, and why."""

PROGRAMS: tuple[Program, ...] = (
    Program("apt-get", "apt", "fetches Debian packages into the store"),
    Program("dpkg-deb", "dpkg", "unpacks Debian packages"),
    Program("depmod", "kmod", "lists what a kernel's modules need"),
    Program("fdtput", "device-tree-compiler", "edits device trees for virtual boards", ("-V",)),
    Program(
        "qemu-system-aarch64",
        "qemu-system-arm",
        "virtual arm and arm64 boards",
        minimum="9.0",
        suite="bookworm-backports",
    ),
    Program("ssh", "openssh-client", "the way to a bench host", ("-V",)),
    Program("sshd", "openssh-server", "the virtual bench's host", ("-V",)),
    Program("ssh-keygen", "openssh-client", "keys of the virtual bench", ()),
    Program("ser2net", "ser2net", "serial ports of the virtual bench on the network", ("-v",)),
    Program("setpriv", "util-linux", "ends a bench's programs with the bench"),
)

BY_NAME = {program.name: program for program in PROGRAMS}


def _table() -> str:
    """The packages as lines `package<TAB>minimum<TAB>suite<TAB>purpose`, for the set-up script."""
    rows = [(name, "", "", purpose) for name, purpose in (*PYTHON_PACKAGES, *TEST_PACKAGES)]
    rows += [(one.package, one.minimum or "", one.suite or "", one.purpose) for one in PROGRAMS]
    return "\n".join("\t".join(cell or "-" for cell in row) for row in rows)


# The set-up script runs this file by itself, before there is a virtual environment.
if __name__ == "__main__":
    print(_table())
