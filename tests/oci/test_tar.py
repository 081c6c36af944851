# SPDX-License-Identifier: Apache-2.0
"""The tar writer and reader, against Python's and GNU's."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.core.errors import BuildError
from farm.core.run import run
from farm.oci.layer import read_layers, write_layer
from farm.oci.tar import read_members
from farm.oci.tree import EPOCH, Entry, Kind, Tree, make_tree

_NAME = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
_PATH = st.lists(_NAME, min_size=1, max_size=5).map("/".join)
_ID = st.integers(0, 0xFFFFFFFF)
_FAST = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(list(Kind)))
    return Entry(
        path=draw(_PATH),
        kind=kind,
        mode=0o777 if kind is Kind.SYMLINK else draw(st.integers(0, 0o7777)),
        uid=draw(_ID),
        gid=draw(_ID),
        target=draw(_PATH) if kind is Kind.SYMLINK else "",
        rdev=(draw(st.integers(0, 4095)), 7) if kind in (Kind.CHAR, Kind.BLOCK) else (0, 0),
        data=draw(st.binary(max_size=1500)) if kind is Kind.FILE else b"",
    )


@st.composite
def _trees(draw: st.DrawFn) -> Tree:
    kept: dict[str, Entry] = {}
    for entry in draw(st.lists(_entries(), max_size=8)):
        parents = [entry.path[:at] for at, sign in enumerate(entry.path) if sign == "/"]
        below = any(path.startswith(f"{entry.path}/") for path in kept)
        if not below and not any(path in kept for path in parents):
            kept[entry.path] = entry
    return make_tree(kept.values())


def _contents(tree: Tree) -> list[tuple[object, ...]]:
    return [(*_facts(entry), entry.read()) for entry in tree]


def _facts(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.target, entry.rdev


@_FAST
@given(_trees())
def test_what_is_written_is_read(tmp_path: Path, tree: Tree) -> None:
    path = tmp_path / "layer"
    with path.open("wb") as file:
        write_layer(tree, file)
    assert _contents(read_layers([path], name="image")) == _contents(tree)


@_FAST
@given(_trees())
def test_python_reads_what_is_written(tree: Tree) -> None:
    file = io.BytesIO()
    write_layer(tree, file)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        members = archive.getmembers()
        for entry, member in zip(tree, members, strict=True):
            assert member.name == entry.path
            assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
            assert member.mtime == EPOCH
            assert member.linkname == entry.target
            if entry.kind is Kind.FILE:
                data = archive.extractfile(member)
                assert data is not None
                assert data.read() == entry.read()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@_FAST
@given(tree=_trees())
def test_what_python_writes_is_read(tmp_path: Path, format: int, tree: Tree) -> None:
    path = tmp_path / "layer"
    types = {Kind.FILE: b"0", Kind.SYMLINK: b"2", Kind.CHAR: b"3", Kind.BLOCK: b"4"}
    types |= {Kind.FOLDER: b"5", Kind.FIFO: b"6"}
    with tarfile.open(path, "w", format=format) as archive:
        for entry in tree:
            member = tarfile.TarInfo(entry.path)
            member.type = types[entry.kind]
            member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
            member.linkname = entry.target
            member.devmajor, member.devminor = entry.rdev
            member.size = entry.size
            archive.addfile(member, io.BytesIO(entry.read()))
    assert _contents(read_layers([path], name="image")) == _contents(tree)


def test_gnu_tar_unpacks_what_is_written(tmp_path: Path) -> None:
    deep = "/".join(["folder-with-a-long-name"] * 12)
    tree = make_tree(
        [
            Entry(f"{deep}/file", Kind.FILE, 0o600, data=b"x" * 1000),
            Entry("ünïcode", Kind.FILE, 0o755, data=b"y"),
            Entry("link", Kind.SYMLINK, 0o777, target=deep),
        ]
    )
    with (tmp_path / "layer").open("wb") as file:
        write_layer(tree, file)
    out = tmp_path / "out"
    out.mkdir()
    run(["tar", "-x", "-f", tmp_path / "layer", "-C", out, "--no-same-owner"])
    assert (out / deep / "file").read_bytes() == b"x" * 1000
    assert (out / "link" / "file").stat().st_mode & 0o777 == 0o600
    assert (out / "ünïcode").read_bytes() == b"y"
    assert int((out / "ünïcode").stat().st_mtime) == EPOCH


def test_the_bytes_are_these() -> None:
    """Whoever changes them changes every image's digest: the writer's version goes up then."""
    file = io.BytesIO()
    write_layer(
        make_tree(
            [
                Entry("usr/bin/x", Kind.FILE, 0o4755, 1, 2, data=b"data"),
                Entry("n" * 120, Kind.SYMLINK, 0o777, target="t" * 120),
                Entry("dev/null", Kind.CHAR, 0o666, 3_000_000, rdev=(1, 3)),
            ]
        ),
        file,
    )
    assert (
        hashlib.sha256(file.getvalue()).hexdigest()
        == "d3bcb9862c6b98d33c385df45ab506f1f47a95f4ea91914f2f52ad61165d7e4e"
    )


@_FAST
@given(st.binary(max_size=3000))
def test_noise_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise"
    path.write_bytes(data)
    try:
        for _ in read_members(path, name="noise"):
            pass
    except BuildError as error:
        assert error.message.startswith("noise: at byte")


@_FAST
@given(st.data())
def test_a_changed_byte_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    file = io.BytesIO()
    long = Entry("d/" + "n" * 200, Kind.FILE, 0o644, data=b"data")
    write_layer(make_tree([long, Entry("e", Kind.FILE, 0o644, data=b"more")]), file)
    raw = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed"
    path.write_bytes(raw)
    try:
        for entry in read_layers([path], name="image"):
            entry.read()
    except BuildError as error:
        assert error.message.startswith("image")


@pytest.mark.parametrize("cut", [1, 511, 512, 700, 1024, 1100])
def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    file = io.BytesIO()
    write_layer(make_tree([Entry("a", Kind.FILE, 0o644, data=b"x" * 600)]), file)
    (tmp_path / "layer").write_bytes(file.getvalue()[:cut])
    with pytest.raises(BuildError, match="cut off"):
        read_layers([tmp_path / "layer"], name="image")
