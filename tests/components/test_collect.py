# SPDX-License-Identifier: Apache-2.0
"""Taking files out of packages, on this machine's own programs in trees made up here."""

from __future__ import annotations

import platform
import posixpath
from collections.abc import Sequence
from pathlib import Path

import pytest

from farm.components.collect import Collected, collect
from farm.components.elf import elf_needs
from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.debian import Package
from farm.oci.tree import Entry, Kind, Tree, make_tree

_ARCH = Arch.parse(platform.machine())
_LIBRARIES = f"usr/lib/{_ARCH.to_gnu()}"


def _package(name: str) -> Package:
    return Package(name, "1-1", _ARCH.to_debian(), f"pool/{name}_1-1.deb", 1, "0" * 64)


def _file(path: str, data: bytes = b"data") -> Entry:
    return Entry(path, Kind.FILE, 0o644, data=data)


def _link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, target=target)


class _Archive:
    """Packages made up of entries; remembers which were opened, in order."""

    def __init__(self, **packages: Sequence[Entry]) -> None:
        self.trees = {name: make_tree(entries) for name, entries in packages.items()}
        self.opened: list[str] = []

    def open(self, packages: Sequence[Package]) -> list[Tree]:
        self.opened += [package.name for package in packages]
        return [self.trees[package.name] for package in packages]

    def collect(self, *patterns: str, named: Sequence[str] = ("tool",)) -> Collected:
        return collect(
            patterns,
            [_package(name) for name in named],
            [_package(name) for name in sorted(self.trees)],
            arch=_ARCH,
            open_packages=self.open,
        )


def _taken(collected: Collected) -> set[str]:
    return {entry.path for entry in collected.files if entry.kind is not Kind.FOLDER}


def _program() -> bytes:
    """A small program of this machine, which links the C library alone."""
    return Path("/bin/true").read_bytes()


def _c_library() -> list[Entry]:
    needs = elf_needs(_file("true", _program()))
    assert needs is not None
    assert needs.interpreter is not None
    assert needs.libraries == ("libc.so.6",)
    linker = needs.interpreter.lstrip("/")
    linker = linker if linker.startswith("usr/") else f"usr/{linker}"
    real = f"{_LIBRARIES}/{posixpath.basename(linker)}"
    target = posixpath.relpath(real, posixpath.dirname(linker))
    links = [_link(linker, target)] if linker != real else []
    return [*links, _file(real), _file(f"{_LIBRARIES}/libc.so.6"), _file("usr/share/doc/libc")]


def test_only_what_is_named_is_taken() -> None:
    archive = _Archive(tool=[_file("usr/bin/a"), _file("usr/bin/b"), _file("etc/x")], other=[])
    collected = archive.collect("/bin/a", "/etc/x")
    assert _taken(collected) == {"usr/bin/a", "etc/x"}
    assert collected.packages == (("tool", "1-1"),)
    assert archive.opened == ["tool"]


def test_a_programs_libraries_come_with_it() -> None:
    archive = _Archive(
        tool=[_file("usr/bin/true", _program())], aaa=[], libc6=_c_library(), libzzz=[]
    )
    collected = archive.collect("/usr/bin/true")
    taken = _taken(collected)
    assert f"{_LIBRARIES}/libc.so.6" in taken
    assert "usr/share/doc/libc" not in taken
    assert any("ld-linux" in path for path in taken)
    assert collected.packages == (("libc6", "1-1"), ("tool", "1-1"))
    # Debian's policy says where the library is: no other package was fetched.
    assert archive.opened == ["tool", "libc6"]


@pytest.mark.parametrize("name", ["alibrary", "zzz"])
def test_a_library_in_a_package_of_another_name_is_found(name: str) -> None:
    archive = _Archive(tool=[_file("usr/bin/true", _program())], **{name: _c_library()})
    assert f"{_LIBRARIES}/libc.so.6" in _taken(archive.collect("/usr/bin/true"))


def test_a_library_that_no_package_has_is_an_error() -> None:
    archive = _Archive(tool=[_file("usr/bin/true", _program())], libother=[])
    with pytest.raises(BuildError, match=r"usr/bin/true needs .*, which no package has that tool"):
        archive.collect("/usr/bin/true")


def test_what_only_looks_like_a_program_is_an_error() -> None:
    for data in (_program()[:100], _program()[: len(_program()) // 2]):
        with pytest.raises(BuildError, match="usr/bin/x"):
            _Archive(tool=[_file("usr/bin/x", data)]).collect("/usr/bin/x")
    assert elf_needs(_file("usr/bin/x", b"#!/bin/sh\n")) is None


def test_links_are_followed_and_kept() -> None:
    archive = _Archive(
        tool=[
            _link("usr/bin/vi", "/etc/alternatives/vi"),
            _link("etc/alternatives/vi", "../../bin/vim.tiny"),
            _file("usr/bin/vim.tiny"),
            _link("usr/share/data", "data-1"),
            _file("usr/share/data-1/x"),
        ]
    )
    assert _taken(archive.collect("/usr/bin/vi")) == {
        "usr/bin/vi",
        "etc/alternatives/vi",
        "usr/bin/vim.tiny",
    }
    assert _taken(archive.collect("/usr/share/data/x")) == {"usr/share/data", "usr/share/data-1/x"}


def test_a_link_to_nothing_is_an_error_where_it_was_named() -> None:
    archive = _Archive(tool=[_link("usr/bin/x", "/etc/alternatives/x"), _file("usr/bin/y")])
    with pytest.raises(BuildError, match=r"/usr/bin/x leads to /etc/alternatives/x"):
        archive.collect("/usr/bin/x")
    assert _taken(archive.collect("/usr/bin/*")) == {"usr/bin/x", "usr/bin/y"}
    circle = _Archive(tool=[_link("a", "b"), _link("b", "a")])
    with pytest.raises(BuildError, match="too many symbolic links"):
        circle.collect("/a")


def test_globs_and_folders() -> None:
    tool = [_file("usr/lib/a/x.so.1"), _file("usr/lib/a/b/y.so.1"), _file("usr/lib/z")]
    archive = _Archive(tool=tool)
    assert _taken(archive.collect("/lib/a/*.so.?")) == {"usr/lib/a/x.so.1"}
    both = {"usr/lib/a/x.so.1", "usr/lib/a/b/y.so.1"}
    assert _taken(archive.collect("/usr/lib/**.so.1")) == both
    assert _taken(archive.collect("/usr/lib/a")) == both
    assert _taken(archive.collect("/usr/lib/a/")) == both


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("/usr/sbin/tool", "/usr/bin/tool"),
        ("/usr/bin/tol", "/usr/bin/tool"),
        ("/usr/bin/tool*.x", "/usr/bin/tool"),
        ("/completely/different", "dpkg-deb --contents"),
    ],
)
def test_a_file_that_no_package_has_is_told_with_the_nearest(pattern: str, nearest: str) -> None:
    with pytest.raises(UserError, match="no such file in tool") as caught:
        _Archive(tool=[_file("usr/bin/tool")]).collect(pattern)
    assert caught.value.message.startswith(pattern)
    assert nearest in (caught.value.hint or "")
