# SPDX-License-Identifier: Apache-2.0
"""The build id: the same for the same parts, another for any other part or order."""

from __future__ import annotations

import io
from pathlib import Path

from farm.oci.store import Descriptor, Store
from farm.oci.tree import Entry, Kind, make_tree
from farm.rootfs import build_id, concatenate, identity_segment, segment


def test_an_id_is_of_all_parts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = (
        segment(name, make_tree([Entry(name, Kind.FILE, 0o644, data=b"x")]), "gzip", store)
        for name in ("one", "two")
    )
    kernel = store.put_blob(b"kernel", "application/octet-stream")
    other = Descriptor(kernel.media_type, one.blob.digest, 1)
    found = [
        build_id(kernel, (one, two)),
        build_id(kernel, (two, one)),
        build_id(kernel, (one,)),
        build_id(other, (one, two)),
    ]
    assert len(set(found)) == len(found)
    assert found[0] == build_id(kernel, (one, two))
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in found)


def test_its_segment_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = identity_segment("0123456789abcdef", "zstd", store)
    assert first == identity_segment("0123456789abcdef", "zstd", store)
    out = io.BytesIO()
    concatenate((first,), store, out)
    assert 0 < len(out.getvalue()) < 1024
