# SPDX-License-Identifier: Apache-2.0
"""Segments: parts of an initramfs, each a compressed cpio archive kept in the store by its key.

The kernel unpacks archives that simply follow one another, so an initramfs is its segments
concatenated, and a change of one component costs one segment.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeAlias

import zstandard

from farm.core.errors import BuildError
from farm.oci.store import Descriptor, Store, StoredImage
from farm.oci.tree import Kind, Tree, epoch, under
from farm.rootfs.cpio import WRITER, Sink, cpio_size, write_cpio
from farm.rootfs.place import PLACING, Links, placed

Codec: TypeAlias = Literal["zstd", "gzip"]

MEDIA_TYPE = "application/vnd.farm.initramfs-segment"

FAST = {"zstd": 12, "gzip": 6}
"""Levels for what changes with each build: 2 MB take 0.05 s, and are a tenth larger than small."""

SMALL = {"zstd": 19, "gzip": 9}
"""Levels for what seldom changes: init."""

_KIND = "segment"


@dataclass(frozen=True)
class Segment:
    """A part of an initramfs.

    Args:
        name: what is in it, for people.
        blob: the compressed archive in the store.
        unpacked_bytes: size of the archive before compression.
        files: how many entries it has.
    """

    name: str
    blob: Descriptor
    unpacked_bytes: int
    files: int


def segment(
    name: str,
    tree: Tree,
    codec: Codec,
    store: Store,
    *,
    levels: Mapping[str, int] = FAST,
) -> Segment:
    """Return the segment of a tree, from the store where the same contents were made before.

    Raises:
        UserError: the tree has what an initramfs cannot hold.
        BuildError: the store cannot be written.
    """
    key = _key(codec, levels, {"tree": _tree_digest(tree)})
    return _recalled(name, key, store) or _made(name, key, tree, codec, levels, store)


def image_segment(
    name: str,
    image: StoredImage,
    prefix: str,
    codec: Codec,
    store: Store,
    *,
    links: Links | None = None,
    levels: Mapping[str, int] = FAST,
) -> Segment:
    """Return the segment of an image's files below `prefix`.

    Where it was made before, the image is not read.

    Args:
        name: what is in it, for people.
        image: whose files they are.
        prefix: the folder that they go into, relative to the root; "" is the root itself.
        codec: how it is compressed.
        store: where image and segment are.
        links: symbolic links of what is unpacked before, which paths must follow.
        levels: of compression, by codec.

    Raises:
        UserError: the image has what an initramfs cannot hold.
        BuildError: the image is damaged, or the store cannot be written.
    """
    follow = dict(links or {})
    parts = {"image": image.digest, "prefix": prefix, "links": follow, "placing": PLACING}
    key = _key(codec, levels, parts)
    if known := _recalled(name, key, store):
        return known
    tree = placed(store.tree(image), follow)
    return _made(name, key, under(tree, prefix) if prefix else tree, codec, levels, store)


def concatenate(segments: Sequence[Segment], store: Store, out: BinaryIO) -> None:
    """Write the whole initramfs: the segments, one after the other.

    Raises:
        BuildError: the store has lost one of them.
    """
    for one in segments:
        with store.blob_path(one.blob.digest).open("rb") as file:
            shutil.copyfileobj(file, out, 1 << 20)


def _key(codec: Codec, levels: Mapping[str, int], parts: dict[str, Any]) -> str:
    """Everything that is in a segment's bytes."""
    library = {
        "zstd": f"{zstandard.__version__} {'.'.join(map(str, zstandard.ZSTD_VERSION))}",
        "gzip": zlib.ZLIB_RUNTIME_VERSION,
    }[codec]
    common = {
        "writer": WRITER,
        "epoch": epoch(),
        "codec": codec,
        "level": levels[codec],
        "library": library,
    }
    return json.dumps({**common, **parts}, sort_keys=True)


def _tree_digest(tree: Tree) -> str:
    digest = hashlib.sha256()
    for entry in tree:
        about = (entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.target, entry.rdev)
        digest.update(json.dumps([*about, entry.size]).encode())
        if entry.kind is Kind.FILE:
            digest.update(hashlib.sha256(entry.read()).digest())
    return digest.hexdigest()


def _recalled(name: str, key: str, store: Store) -> Segment | None:
    blob = store.recall(_KIND, key)
    facts = store.recall_json(f"{_KIND}-facts", key)
    if blob is None or not isinstance(facts, dict):
        return None
    try:
        return Segment(name, blob, int(facts["unpacked_bytes"]), int(facts["files"]))
    except (KeyError, TypeError, ValueError):
        return None


def _made(
    name: str, key: str, tree: Tree, codec: Codec, levels: Mapping[str, int], store: Store
) -> Segment:
    size = cpio_size(tree)
    try:
        with tempfile.TemporaryFile() as file:
            _WRITERS[codec](tree, file, size, levels[codec])
            file.seek(0)
            blob = store.put_blob(file, f"{MEDIA_TYPE}+{codec}")
    except OSError as error:
        raise BuildError(
            f"{name}: the segment cannot be written: {error.strerror or error}",
            hint=f"is there space in {tempfile.gettempdir()}?",
        ) from error
    store.remember_json(f"{_KIND}-facts", key, {"unpacked_bytes": size, "files": len(tree)})
    store.remember(_KIND, key, blob)
    return Segment(name, blob, size, len(tree))


def _write_zstd(tree: Tree, out: Sink, size: int, level: int) -> None:
    # One thread, since the bytes of several depend on their number. The kernel checks the
    # checksum, so that a rotten card is told as such.
    codec = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=True)
    piecewise = codec.compressobj(size=size)
    write_cpio(tree, _Through(piecewise.compress, out), mtime=epoch())
    out.write(piecewise.flush())


def _write_gzip(tree: Tree, out: Sink, size: int, level: int) -> None:
    # zlib writes the header itself then: no name, no time.
    piecewise = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    write_cpio(tree, _Through(piecewise.compress, out), mtime=epoch())
    out.write(piecewise.flush())


class _Through:
    """Passes what is written on, changed by a function."""

    def __init__(self, change: Callable[[bytes], bytes], out: Sink) -> None:
        self._change = change
        self._out = out

    def write(self, data: bytes, /) -> int:
        self._out.write(self._change(data))
        return len(data)


_WRITERS: Mapping[Codec, Callable[[Tree, Sink, int, int], None]] = {
    "zstd": _write_zstd,
    "gzip": _write_gzip,
}
