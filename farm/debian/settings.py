# SPDX-License-Identifier: Apache-2.0
"""Which Debian archive is used: this machine's own, unless something says else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from farm.core.errors import UserError
from farm.core.run import run

DEFAULT_SUITE = "trixie"

_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]*(/[a-z0-9.+-]+)*")
_MIRROR = re.compile(r"(https?|file)://[^\s\[\]\"'\\]+")


@dataclass(frozen=True)
class ArchiveSettings:
    """Where packages come from.

    Args:
        mirror: root of a mirror of Debian, with `dists/` and `pool/` below it; None means the one
            that this machine's apt uses.
        suite: the suite that components are taken from where they name none.
        update: whether the archive's index is fetched anew, once in a process; else the one that
            is in the cache answers for ever, so that the same build gives the same bytes.
    """

    mirror: str | None = None
    suite: str = DEFAULT_SUITE
    update: bool = False

    @classmethod
    def from_environment(cls) -> ArchiveSettings:
        """Settings by FARM_MIRROR and FARM_SUITE, where they are set.

        Raises:
            UserError: one of them is malformed.
        """
        mirror = os.environ.get("FARM_MIRROR") or None
        suite = os.environ.get("FARM_SUITE") or DEFAULT_SUITE
        if mirror is not None:
            check_mirror(mirror)
        check_suite(suite)
        return cls(mirror, suite)


def check_mirror(mirror: str) -> None:
    """Check that a mirror's address can stand in apt's list of sources.

    Raises:
        UserError: it cannot.
    """
    if not _MIRROR.fullmatch(mirror):
        raise UserError(
            f"{mirror!r}: not the address of a mirror",
            hint="FARM_MIRROR is an http:, https: or file: address of a folder with dists/ in it",
        )


def check_suite(suite: str) -> None:
    """Check that a suite's name can stand in apt's list of sources.

    Raises:
        UserError: it cannot.
    """
    if not _SUITE.fullmatch(suite):
        raise UserError(f"{suite!r}: not a suite's name", hint="as trixie or bookworm")


def machine_mirror() -> str:
    """Return the mirror of Debian that this machine's apt uses.

    Raises:
        MissingProgramError: there is no apt.
        UserError: apt uses none.
    """
    listed = run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
        error=UserError,
        what="asking apt for this machine's mirror",
        timeout_s=60,
    )
    origins = [line.rpartition(" ")[::2] for line in listed.stdout.decode().splitlines()]
    # Without lists (a fresh container) apt does not know origins yet: the path must do.
    for by_origin in (True, False):
        for origin, uri in origins:
            debian = origin == "Debian" if by_origin else uri.rstrip("/").endswith("/debian")
            if debian and "security" not in uri and _MIRROR.fullmatch(uri):
                return uri.rstrip("/")
    raise UserError(
        "this machine's apt has no mirror of Debian",
        hint="name one: FARM_MIRROR=http://…/debian",
    )
