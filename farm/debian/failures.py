# SPDX-License-Identifier: Apache-2.0
"""What apt says when something is wrong, and what it means to a person.

Source of the messages: apt's own, in English (apt-pkg/acquire-item.cc, apt-private/).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from farm.core.arch import Arch
from farm.core.errors import BuildError, FarmError, UserError


class StaleIndexError(BuildError):
    """The index and the mirror differ; a new index may help."""


_UNKNOWN = re.compile(
    r"Unable to locate package (?P<one>\S+)"
    r"|Package '?(?P<two>[^\s']+)'? has no installation candidate"
    r"|Can't select candidate version from package (?P<three>\S+)"
)
_NO_VERSION = re.compile(r"Version '(?P<version>[^']+)' for '(?P<name>[^']+)' was not found")
_UNREACHABLE = (
    "Could not resolve",
    "Temporary failure resolving",
    "Could not connect",
    "Unable to connect",
    "Cannot initiate the connection",
    "Connection failed",
    "connection timed out",
    "Connection timed out",
    "Network is unreachable",
)
_OUT_OF_STEP = (
    "File has unexpected size",
    "Hash Sum mismatch",
    "Mirror sync in progress",
    "is not valid yet",
    "Release file for",
)
_UNSIGNED = ("NO_PUBKEY", "is not signed", "invalid signature", "EXPKEYSIG", "BADSIG", "NODATA")


def explain(
    said: str,
    *,
    what: str,
    suite: str,
    arch: Arch,
    mirror: str,
    command: str,
    nearest: Callable[[str], str | None],
) -> FarmError:
    """Return the error that apt's messages amount to.

    Args:
        said: apt's standard error.
        what: what was being done.
        suite: of the archive.
        arch: of the packages.
        mirror: the archive's address.
        command: what was run, ready to paste.
        nearest: returns the package whose name is most like an unknown one.
    """
    lines = [line for line in said.splitlines() if line[:2] in ("E:", "W:") or "Err:" in line]
    text = "\n".join(lines)
    if (unknown := _UNKNOWN.search(text)) is not None:
        name = next(filter(None, unknown.groups())).rstrip(".")
        near = nearest(name)
        return UserError(
            f"{name}: no such package in Debian {suite} for {arch.to_debian()}",
            hint=f"the nearest name is {near}" if near else "is it in another suite or area?",
        )
    if (gone := _NO_VERSION.search(text)) is not None:
        return StaleIndexError(
            f"{gone['name']} {gone['version']}: no longer in the index of {suite}"
        )
    if any(sign in text for sign in _UNSIGNED):
        return BuildError(
            f"{what}: not signed by a key of Debian that this machine has:{_listed(lines)}",
            hint="sudo apt-get install debian-archive-keyring, or another mirror: FARM_MIRROR=…",
        )
    if any(sign in text for sign in _UNREACHABLE):
        return BuildError(
            f"{what}: the mirror {mirror} cannot be reached:{_listed(lines)}",
            hint="check the network, or use another mirror: FARM_MIRROR=http://…/debian",
        )
    if any(sign in text for sign in _OUT_OF_STEP):
        return StaleIndexError(
            f"{what}: the mirror {mirror} is out of step with itself:{_listed(lines)}",
            hint="try again later, with another mirror (FARM_MIRROR=…), or with another suite for"
            f" this architecture: `suites: {{{arch}: bookworm}}`",
        )
    if "does not have a Release file" in text or "doesn't have the component" in text:
        return UserError(
            f"{what}: the mirror {mirror} has no such suite or area:{_listed(lines)}",
            hint="suites are named as trixie, bookworm; areas as main, non-free-firmware",
        )
    if "404 " in text:
        return StaleIndexError(f"{what}: no longer on the mirror {mirror}:{_listed(lines)}")
    return BuildError(f"{what}: apt failed:{_listed(lines)}", hint=f"the command was: {command}")


def _listed(lines: list[str]) -> str:
    return "".join(f"\n    {line}" for line in lines[:6])
