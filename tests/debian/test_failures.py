# SPDX-License-Identifier: Apache-2.0
"""What apt said on real failures, and what farm makes of it."""

from __future__ import annotations

import pytest

from farm.core.arch import Arch
from farm.core.errors import BuildError, ExitCode, FarmError, UserError
from farm.debian.failures import StaleIndexError, explain

_SIZE = "File has unexpected size (9246492 != 9246996). Mirror sync in progress?"


def _explain(said: str) -> FarmError:
    return explain(
        said,
        what="index of Debian trixie main for armhf",
        suite="trixie",
        arch=Arch.ARM,
        mirror="http://mirror.example/debian",
        command="apt-get update",
        nearest=lambda name: {"busybox-statix": "busybox-static"}.get(name),
    )


@pytest.mark.parametrize(
    ("said", "kind", "message", "hint"),
    [
        (
            "E: Unable to locate package busybox-statix",
            UserError,
            "busybox-statix: no such package in Debian trixie for armhf",
            "busybox-static",
        ),
        (
            "E: Package 'mail-transport-agent' has no installation candidate",
            UserError,
            "mail-transport-agent: no such package",
            "another suite or area",
        ),
        (
            "E: Version '1.2-3' for 'busybox' was not found",
            StaleIndexError,
            "busybox 1.2-3: no longer in the index",
            "",
        ),
        (
            f"E: Failed to fetch http://x/Packages.xz  {_SIZE}",
            StaleIndexError,
            "out of step with itself",
            "`suites: {arm: bookworm}`",
        ),
        (
            "E: Failed to fetch http://x/InRelease  Could not resolve 'x'",
            BuildError,
            "the mirror http://mirror.example/debian cannot be reached",
            "FARM_MIRROR",
        ),
        (
            (
                "E: Failed to fetch http://x/InRelease  Could not connect to x:80 (127.0.0.1). -"
                " connect (111: Connection refused)"
            ),
            BuildError,
            "cannot be reached",
            "FARM_MIRROR",
        ),
        (
            "E: The repository 'http://x trixy Release' does not have a Release file.",
            UserError,
            "no such suite or area",
            "trixie",
        ),
        (
            (
                "W: Skipping acquire of configured file 'nonfree/binary-arm64/Packages' as"
                " repository 'http://x trixie InRelease' doesn't have the component 'nonfree'"
            ),
            UserError,
            "no such suite or area",
            "non-free-firmware",
        ),
        (
            (
                "W: GPG error: http://x trixie InRelease: The following signatures couldn't be"
                " verified because the public key is not available: NO_PUBKEY 0123456789ABCDEF\n"
                "E: The repository 'http://x trixie InRelease' is not signed."
            ),
            BuildError,
            "not signed by a key of Debian",
            "debian-archive-keyring",
        ),
        (
            "E: Failed to fetch http://x/pool/b.deb  404  Not Found [IP: 192.0.2.1 80]",
            StaleIndexError,
            "no longer on the mirror",
            "",
        ),
        ("E: Something that nobody has seen", BuildError, "apt failed", "apt-get update"),
    ],
)
def test_a_failure_is_explained(said: str, kind: type[FarmError], message: str, hint: str) -> None:
    error = _explain(said)
    assert type(error) is kind
    assert message in error.message
    assert hint in (error.hint or "")
    assert error.exit_code is (ExitCode.USAGE if kind is UserError else ExitCode.FAILED)
