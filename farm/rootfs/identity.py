# SPDX-License-Identifier: Apache-2.0
"""The build id: by it a guest says of which build it is, and a verdict is one of that build."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from farm.oci.store import Descriptor, Store
from farm.oci.tree import Entry, Kind, make_tree
from farm.rootfs.segment import Codec, Segment, segment

BUILD_ID = "etc/farm/build"
"""Where init reads it: one line."""

_DIGITS = 16


def build_id(kernel: Descriptor, segments: Sequence[Segment]) -> str:
    """Return the build id of a kernel and all of its initramfs: 16 hex digits of a SHA-256."""
    digests = [kernel.digest, *(one.blob.digest for one in segments)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:_DIGITS]


def identity_segment(identity: str, codec: Codec, store: Store) -> Segment:
    """Return the segment that tells a guest its build id.

    It is a segment of its own, to be put last, so that a change of one part leaves the segments
    of the others as they are.

    Raises:
        BuildError: the store cannot be written.
    """
    entry = Entry(BUILD_ID, Kind.FILE, 0o644, data=f"{identity}\n".encode())
    return segment("build id", make_tree([entry]), codec, store)
