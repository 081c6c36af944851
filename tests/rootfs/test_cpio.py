# SPDX-License-Identifier: Apache-2.0
"""The cpio writer, read back by busybox's cpio and by a reader of the format."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.errors import UserError
from farm.core.run import run
from farm.oci.tree import EPOCH, Entry, Kind, Slice, Tree, make_tree
from farm.rootfs.cpio import TRAILER, cpio_size, write_cpio

_NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..", TRAILER))
_MODES = st.integers(0, 0o7777)
_IDS = st.integers(0, 0xFFFFFFFF)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    path = "/".join(draw(st.lists(_NAMES, min_size=1, max_size=3)))
    kind = draw(st.sampled_from(Kind))
    common = {"mode": draw(_MODES), "uid": draw(_IDS), "gid": draw(_IDS)}
    if kind is Kind.FILE:
        return Entry(path, kind, **common, data=draw(st.binary(max_size=40)))
    if kind is Kind.SYMLINK:
        return Entry(path, kind, **common, target=draw(_NAMES))
    if kind in (Kind.CHAR, Kind.BLOCK):
        return Entry(path, kind, **common, rdev=(draw(_IDS), draw(_IDS)))
    return Entry(path, kind, **common)


@st.composite
def _trees(draw: st.DrawFn) -> Tree:
    kept: list[Entry] = []
    for entry in draw(st.lists(_entries(), max_size=8)):
        try:
            make_tree([*kept, entry])
        except UserError:
            continue
        kept.append(entry)
    return make_tree(kept)


def _archive(tree: Tree, mtime: int = EPOCH) -> bytes:
    file = io.BytesIO()
    write_cpio(tree, file, mtime=mtime)
    return file.getvalue()


@given(_trees(), st.integers(0, 0xFFFFFFFF))
def test_what_is_written_is_read_back(tree: Tree, mtime: int) -> None:
    data = _archive(tree, mtime)
    assert len(data) == cpio_size(tree)
    assert len(data) % 4 == 0
    *entries, trailer = list(_read(data))
    assert trailer[0] == TRAILER.encode()
    assert len(entries) == len(tree)
    for number, (entry, (name, fields, body)) in enumerate(zip(tree, entries, strict=True), 1):
        ino, mode, uid, gid, _links, time, size, dev, minor, *rdev, _, check = fields
        assert name == os.fsencode(entry.path)
        assert (ino, uid, gid, time) == (number, entry.uid, entry.gid, mtime)
        assert (dev, minor, check) == (0, 0, 0)
        assert stat.S_IMODE(mode) == entry.mode
        assert tuple(rdev) == entry.rdev
        assert size == len(body)
        if entry.kind is Kind.FILE:
            assert stat.S_ISREG(mode)
            assert body == entry.read()
        elif entry.kind is Kind.SYMLINK:
            assert stat.S_ISLNK(mode)
            assert body == os.fsencode(entry.target)
        else:
            assert body == b""


def _read(data: bytes) -> list[tuple[bytes, tuple[int, ...], bytes]]:
    """Read an archive by the kernel's description of the format."""
    found, at = [], 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = tuple(int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13))
        size, name_size = fields[6], fields[11]
        name_at = at + 110
        body_at = (name_at + name_size + 3) & ~3
        name = data[name_at : name_at + name_size]
        assert name.endswith(b"\0")
        assert not data[name_at + name_size : body_at].strip(b"\0")
        end = (body_at + size + 3) & ~3
        found.append((name[:-1], fields, data[body_at : body_at + size]))
        assert not data[body_at + size : end].strip(b"\0")
        at = end
    return found


def test_busybox_unpacks_it(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3_000_001))
    tree = make_tree(
        [
            Entry("bin/tool", Kind.FILE, 0o4755, data=b"#!/bin/sh\n"),
            Entry("bin/alias", Kind.SYMLINK, 0o777, target="tool"),
            Entry("private", Kind.FOLDER, 0o700),
            Entry("pipe", Kind.FIFO, 0o600),
            Entry("big", Kind.FILE, 0o644, data=Slice(big, 1, 3_000_000)),
            Entry("grüße \n leer", Kind.FILE, 0o640, data=b""),
        ]
    )
    out = tmp_path / "out"
    out.mkdir()
    listed = run(["busybox", "cpio", "-t"], input=_archive(tree), timeout_s=60)
    assert listed.stdout == b"".join(os.fsencode(entry.path) + b"\n" for entry in tree)
    run(["busybox", "cpio", "-i"], cwd=out, input=_archive(tree), timeout_s=60)
    assert (out / "big").read_bytes() == big.read_bytes()[1:]
    assert (out / "bin/alias").readlink() == Path("tool")
    for entry in tree:
        status = (out / entry.path).lstat()
        if entry.kind is not Kind.SYMLINK:
            assert stat.S_IMODE(status.st_mode) == entry.mode, entry.path
    assert stat.S_ISFIFO((out / "pipe").stat().st_mode)


@pytest.mark.root
def test_busybox_makes_devices_and_owners(tmp_path: Path) -> None:
    tree = make_tree(
        [
            Entry("console", Kind.CHAR, 0o600, rdev=(5, 1)),
            Entry("owned", Kind.FILE, 0o644, uid=100, gid=200, data=b"x"),
        ]
    )
    run(["busybox", "cpio", "-i"], cwd=tmp_path, input=_archive(tree), timeout_s=60)
    status = (tmp_path / "console").stat()
    assert stat.S_ISCHR(status.st_mode)
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (5, 1)
    owned = (tmp_path / "owned").stat()
    assert (owned.st_uid, owned.st_gid) == (100, 200)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("/".join(["x" * 200] * 20) + "/" + "y" * 100, Kind.FIFO, 0o600),
        Entry("link", Kind.SYMLINK, 0o777, target=""),
        Entry("link", Kind.SYMLINK, 0o777, target="t" * 5000),
        Entry("file", Kind.FILE, 0o644, uid=1 << 32),
        Entry("file", Kind.FILE, 0o644, data=Slice(Path("/dev/zero"), 0, 1 << 32)),
    ],
)
def test_what_does_not_fit_is_refused(entry: Entry) -> None:
    with pytest.raises(UserError):
        write_cpio((entry,), io.BytesIO(), mtime=EPOCH)
