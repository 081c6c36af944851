# SPDX-License-Identifier: Apache-2.0
"""Trees follow the symbolic links of what is unpacked before them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.errors import UserError
from farm.oci.tree import Entry, Kind, make_tree
from farm.rootfs.place import links_after, links_of, placed

_MERGED = make_tree(
    [
        Entry("usr/lib/libc.so", Kind.FILE, 0o644, data=b"c"),
        Entry("usr/bin/sh", Kind.FILE, 0o755, data=b"sh"),
        Entry("lib", Kind.SYMLINK, 0o777, target="usr/lib"),
        Entry("sbin", Kind.SYMLINK, 0o777, target="/bin"),
        Entry("bin", Kind.SYMLINK, 0o777, target="usr/bin"),
        Entry("usr/sbin", Kind.SYMLINK, 0o777, target="../bin"),
    ]
)


def _file(path: str, data: bytes = b"x") -> Entry:
    return Entry(path, Kind.FILE, 0o644, data=data)


def _paths(*entries: Entry) -> list[str]:
    return [entry.path for entry in placed(make_tree(entries), links_of(_MERGED))]


def test_links_are_relative_to_the_root() -> None:
    assert links_of(_MERGED) == {
        "lib": "usr/lib",
        "sbin": "bin",
        "bin": "usr/bin",
        "usr/sbin": "bin",
    }


def test_folders_follow_links() -> None:
    assert _paths(_file("lib/modules/1/a.ko")) == [
        *("usr", "usr/lib", "usr/lib/modules", "usr/lib/modules/1", "usr/lib/modules/1/a.ko"),
    ]


def test_links_to_links_and_upwards() -> None:
    assert "usr/bin/tool" in _paths(_file("sbin/tool"))
    assert "usr/bin/tool" in _paths(_file("usr/sbin/tool"))


def test_a_file_at_a_links_place_replaces_it() -> None:
    assert _paths(_file("lib")) == ["lib"]
    assert links_after(make_tree([_file("lib")]), links_of(_MERGED)).keys() == {
        *("bin", "sbin", "usr/sbin"),
    }


def test_a_link_to_the_root() -> None:
    links = links_of(make_tree([Entry("sys/root", Kind.SYMLINK, 0o777, target="../..")]))
    assert [entry.path for entry in placed(make_tree([_file("sys/root/a/b")]), links)] == [
        *("a", "a/b", "sys"),
    ]


def test_circles_are_refused() -> None:
    circle = links_of(
        make_tree(
            [
                Entry("a", Kind.SYMLINK, 0o777, target="b"),
                Entry("b", Kind.SYMLINK, 0o777, target="a"),
            ]
        )
    )
    with pytest.raises(UserError, match="circles"):
        placed(make_tree([_file("a/x")]), circle)


def test_two_that_meet_at_one_place_with_different_contents_are_refused() -> None:
    with pytest.raises(UserError, match="given twice"):
        _paths(_file("bin/x", b"1"), _file("sbin/x", b"2"))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join))
def test_without_links_nothing_moves(path: str) -> None:
    tree = make_tree([_file(path)])
    assert placed(tree, {}) == tree
    assert placed(tree, {"other": "place"}) == tree


@given(
    st.dictionaries(st.sampled_from(["a", "b", "a/b", "c"]), st.sampled_from(["a", "b", "c", "d"])),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map("/".join),
)
def test_what_is_placed_leads_through_no_link(links: dict[str, str], path: str) -> None:
    try:
        tree = placed(make_tree([_file(path)]), links)
    except UserError:
        return
    for entry in tree:
        folder = entry.path.rpartition("/")[0]
        parts = folder.split("/") if folder else []
        assert not any("/".join(parts[:n]) in links for n in range(1, len(parts) + 1))
