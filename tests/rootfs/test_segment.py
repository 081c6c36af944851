# SPDX-License-Identifier: Apache-2.0
"""Segments: their bytes, their keys, and that what is known is not read again."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
import zstandard

from farm.core.arch import Arch
from farm.core.errors import BuildError
from farm.oci.store import Store, StoredImage
from farm.oci.tree import EPOCH, Entry, Kind, Tree, make_tree, under
from farm.rootfs import Codec, concatenate, image_segment, segment
from farm.rootfs.cpio import write_cpio
from farm.rootfs.segment import SMALL

_TREE = make_tree([Entry("etc/issue", Kind.FILE, 0o644, data=b"hello\n" * 1000)])


def _archive(tree: Tree) -> bytes:
    file = io.BytesIO()
    write_cpio(tree, file, mtime=EPOCH)
    return file.getvalue()


def _image(store: Store, tree: Tree = _TREE) -> StoredImage:
    return store.put_image(ref="farm/one", arch=Arch.ARM64, trees=[tree], labels={})


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_its_blob_is_the_compressed_archive(tmp_path: Path, codec: Codec) -> None:
    store = Store(tmp_path)
    made = segment("etc", _TREE, codec, store)
    data = store.read_blob(made.blob.digest)
    unpacked = zstandard.decompress(data) if codec == "zstd" else gzip.decompress(data)
    assert unpacked == _archive(_TREE)
    assert (made.unpacked_bytes, made.files) == (len(unpacked), len(_TREE))
    assert made.blob.media_type.endswith(codec)
    assert segment("etc", _TREE, codec, Store(tmp_path / "other")).blob == made.blob


def test_zstd_says_its_size_and_has_a_checksum(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = segment("etc", _TREE, "zstd", store)
    data = store.read_blob(made.blob.digest)
    about = zstandard.get_frame_parameters(data)
    assert about.content_size == made.unpacked_bytes
    assert about.has_checksum


def test_gzip_has_neither_name_nor_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = store.read_blob(segment("etc", _TREE, "gzip", store).blob.digest)
    assert data[3] == 0
    assert data[4:8] == bytes(4)


def test_an_image_that_is_known_is_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = _image(store)
    first = image_segment("one", image, "containers/files/one", "zstd", store)
    store.blob_path(image.layers[0].digest).unlink()
    assert image_segment("one", image, "containers/files/one", "zstd", store) == first
    with pytest.raises(BuildError):
        image_segment("one", image, "containers/files/two", "zstd", store)


def test_it_lies_below_its_prefix(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = image_segment("one", _image(store), "a/b", "zstd", store)
    data = zstandard.decompress(store.read_blob(made.blob.digest))
    assert data == _archive(under(_TREE, "a/b"))


def test_everything_in_its_bytes_is_in_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    image = _image(store)
    makings = [
        image_segment("one", image, "", "zstd", store),
        image_segment("one", image, "", "zstd", store, levels=SMALL),
        image_segment("one", image, "", "gzip", store),
        image_segment("one", image, "x", "zstd", store),
        image_segment("one", image, "", "zstd", store, links={"etc": "usr/etc"}),
    ]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    makings.append(image_segment("one", image, "", "zstd", store))
    assert len({made.blob.digest for made in makings}) == len(makings)


def test_a_segment_whose_blob_is_gone_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = segment("etc", _TREE, "zstd", store)
    store.blob_path(made.blob.digest).unlink()
    assert segment("etc", _TREE, "zstd", store) == made
    assert store.read_blob(made.blob.digest)


def test_facts_that_were_damaged_are_found_out_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = segment("etc", _TREE, "zstd", store)
    for kept in (tmp_path / "derived" / "segment-facts").iterdir():
        kept.write_text("{}")
    assert segment("etc", _TREE, "zstd", store) == made


def test_concatenated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = segment("one", _TREE, "zstd", store)
    two = segment("two", make_tree([Entry("x", Kind.FIFO, 0o600)]), "gzip", store)
    out = io.BytesIO()
    concatenate([one, two], store, out)
    first, second = (store.read_blob(made.blob.digest) for made in (one, two))
    assert out.getvalue() == first + second
