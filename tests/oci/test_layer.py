# SPDX-License-Identifier: Apache-2.0
"""Layers on top of each other, and layers that mean harm."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from farm.core.errors import BuildError
from farm.oci import layer, unpack
from farm.oci.layer import read_layers
from farm.oci.tree import Entry, Kind, Slice, Tree


class _Layer:
    """Writes a layer with whatever members a test wants in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = tarfile.open(path, "w")  # noqa: SIM115

    def file(self, name: str, data: bytes = b"data", **fields: object) -> _Layer:
        return self._add(name, tarfile.REGTYPE, data, **fields)

    def folder(self, name: str, **fields: object) -> _Layer:
        return self._add(name, tarfile.DIRTYPE, **fields)

    def link(self, name: str, target: str) -> _Layer:
        return self._add(name, tarfile.SYMTYPE, linkname=target)

    def hard(self, name: str, target: str) -> _Layer:
        return self._add(name, tarfile.LNKTYPE, linkname=target)

    def _add(self, name: str, kind: bytes, data: bytes = b"", **fields: object) -> _Layer:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.size = len(data)
        for key, value in fields.items():
            setattr(member, key, value)
        self._archive.addfile(member, io.BytesIO(data))
        return self

    def done(self) -> Path:
        self._archive.close()
        return self.path


@pytest.fixture
def new(tmp_path: Path) -> Callable[[], _Layer]:
    count = iter(range(100))
    return lambda: _Layer(tmp_path / f"layer-{next(count)}")


New = Callable[[], _Layer]


def _read(*paths: Path) -> dict[str, Entry]:
    return {entry.path: entry for entry in read_layers(paths, name="image")}


def _files(tree: Tree | dict[str, Entry]) -> dict[str, bytes]:
    entries = tree.values() if isinstance(tree, dict) else tree
    return {entry.path: entry.read() for entry in entries if entry.kind is Kind.FILE}


def test_a_layer_covers_the_one_below(new: New) -> None:
    low = new().file("a", b"old").file("d/x", b"x").file("f/y").done()
    high = new().file("./a", b"new").file("/d", b"now a file").folder("f", mode=0o700).done()
    tree = _read(low, high)
    assert _files(tree) == {"a": b"new", "d": b"now a file", "f/y": b"data"}
    assert tree["f"].mode == 0o700


def test_data_stays_in_an_uncompressed_layer(new: New) -> None:
    path = new().file("a", b"x" * 700).done()
    data = _read(path)["a"].data
    assert isinstance(data, Slice)
    assert data.path == path


def test_whiteouts_hide_what_is_below(new: New) -> None:
    low = new().file("a").file("d/x").file("d/y").file("o/x").file("o/p/q").done()
    # A whiteout hides nothing of its own layer, wherever in it it stands.
    high = new().file("o/new").file("d/.wh.x").file("o/.wh..wh..opq").file("d/x2").file(".wh.a")
    assert sorted(_files(_read(low, high.done()))) == ["d/x2", "d/y", "o/new"]


def test_a_whiteout_does_not_hide_its_own_layer(new: New) -> None:
    low = new().file("d/x", b"old").done()
    high = new().file("d/x", b"new").file("d/.wh.x").done()
    assert _files(_read(low, high)) == {"d/x": b"new"}


def test_a_link_to_a_folder_is_followed_inside(new: New) -> None:
    low = new().folder("usr/lib").link("lib", "usr/lib").link("abs", "/usr").done()
    high = new().file("lib/a", b"1").file("abs/lib/b", b"2").done()
    assert _files(_read(low, high)) == {"usr/lib/a": b"1", "usr/lib/b": b"2"}


def test_hard_links_become_files(new: New) -> None:
    low = new().file("a", b"data", mode=0o755).done()
    tree = _read(low, new().hard("b", "a").hard("c", "./b").done())
    assert _files(tree) == dict.fromkeys(("a", "b", "c"), b"data")
    assert tree["c"].mode == 0o755


@pytest.mark.parametrize("codec", ["gzip", "zstd", "xz"])
def test_compressed_layers_are_unpacked_once(new: New, tmp_path: Path, codec: str) -> None:
    plain = new().file("a", b"x" * 5000).done().read_bytes()
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress, "xz": lzma.compress}[codec]
    path = tmp_path / "packed"
    path.write_bytes(pack(plain))
    scratch = tmp_path / "scratch"
    for _ in range(2):
        tree = read_layers([path], name="image", scratch=scratch)
        assert _files(tree) == {"a": b"x" * 5000}
    assert len(list(scratch.iterdir())) == 1


# A zstd frame need not have a checksum; a blob's digest has been checked before.
_ZSTD = zstandard.ZstdCompressor(write_checksum=True)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "xz"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_compression_is_told(tmp_path: Path, new: New, codec: str, damage: str) -> None:
    plain = new().file("a", bytes(range(256)) * 40).done().read_bytes()
    pack = {"gzip": gzip.compress, "zstd": _ZSTD.compress, "xz": lzma.compress}[codec]
    data = bytearray(pack(plain))
    if damage == "cut":
        del data[-20:]
    else:
        data[len(data) // 2] ^= 0xFF
    (tmp_path / "packed").write_bytes(data)
    with pytest.raises(BuildError, match=r"image: layer 1 of 1"):
        read_layers([tmp_path / "packed"], name="image", scratch=tmp_path / "scratch")


def _deny(path: Path, *words: str) -> None:
    with pytest.raises(BuildError) as caught:
        _read(path)
    message = caught.value.message
    assert message.startswith("image: layer 1 of 1: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/../evil", "a/.."])
def test_traversal_is_refused(new: New, name: str) -> None:
    _deny(new().file(name).done(), repr(name), "leads out")


def test_a_whiteout_that_leads_out_is_refused(new: New) -> None:
    _deny(new().file("../.wh.etc").done(), "leads out")


def test_writing_through_a_link_that_leads_out_is_refused(new: New) -> None:
    layer = new().link("a", "../../..").file("a/etc/passwd").done()
    _deny(layer, "a/etc/passwd", "leads out")


def test_links_in_a_circle_are_refused(new: New) -> None:
    _deny(new().link("a", "b").link("b", "a").file("a/x").done(), "a/x", "too many")


@pytest.mark.parametrize("target", ["/etc/shadow", "../../etc/shadow", "nothing", "d", ""])
def test_a_hard_link_to_no_file_of_the_tree_is_refused(new: New, target: str) -> None:
    _deny(new().folder("d").hard("a", target).done(), "a: a hard link to", "no file there")


@pytest.mark.parametrize("second", ["a", "./a", "//a", "a/"])
def test_a_path_twice_in_a_layer_is_refused(new: New, second: str) -> None:
    _deny(new().file("a").file(second, b"other").done(), "stands twice")


def test_a_whiteout_twice_in_a_layer_is_refused(new: New) -> None:
    _deny(new().file("a/.wh.x").file("./a/.wh.x").done(), "stands twice")


def test_a_folder_may_stand_twice(new: New) -> None:
    tree = _read(new().folder("d").file("d/x").folder("d", mode=0o711).done())
    assert tree["d"].mode == 0o711
    assert "d/x" in tree


def test_a_member_below_a_file_is_refused(new: New) -> None:
    _deny(new().file("a").file("a/b").done(), "a/b", "lies below a")


def test_a_file_in_the_place_of_the_same_layers_folder_is_refused(new: New) -> None:
    _deny(new().file("d/x").file("d").done(), "d", "in the place of a folder")


@pytest.mark.parametrize("name", ["n" * 300, "d/" * 2500 + "x"])
def test_names_that_are_too_long_are_refused(new: New, name: str) -> None:
    _deny(new().file(name).done(), "longer than a path may be")


def test_odd_members_are_refused(new: New) -> None:
    _deny(new().file("a", type=tarfile.GNUTYPE_SPARSE).done(), "a: a sparse file")
    _deny(new().file("b", type=b"Z").done(), "b: a member of unknown type")
    _deny(new().link("c", "t" * 5000).done(), "c: a link longer")
    _deny(new().file("d", uid=-5).done(), "number")
    _deny(new().file("e", pax_headers={"GNU.sparse.major": "1"}).done(), "e: a sparse file")
    _deny(new().file("f", pax_headers={"comment": "x" * (2 << 20)}).done(), "extended header")


def test_more_members_than_any_system_has_are_refused(
    new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "MAX_ENTRIES", 5)
    members = new()
    for number in range(6):
        members.file(str(number))
    _deny(members.done(), "more than 5 members")


def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MAX_UNPACKED_BYTES", 3 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(BuildError, match="image: layer 1 of 1: larger than"):
        read_layers([path], name="image", scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_hard_links_cannot_multiply_a_file_without_end(
    new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "MAX_UNPACKED_BYTES", 1 << 20)
    members = new().file("a", bytes(300_000))
    for number in range(5):
        members.hard(f"b{number}", "a")
    with pytest.raises(BuildError, match="MiB of files"):
        _read(members.done())


def test_more_layers_than_a_runtime_takes_are_refused(new: New) -> None:
    with pytest.raises(BuildError, match="129 layers"):
        _read(*[new().done()] * 129)


def test_an_absent_layer_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="No such file"):
        _read(tmp_path / "absent")
