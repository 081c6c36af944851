# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from farm.core.errors import BuildError, UserError
from farm.oci.tree import EPOCH, Entry, Kind, Slice, epoch, make_tree, under


def _file(path: str, data: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path, Kind.FILE, mode, data=data)


def test_a_tree_is_sorted_and_has_all_parents() -> None:
    tree = make_tree([_file("b/c/d"), _file("a-b"), Entry("a", Kind.FOLDER, 0o700), _file("a/x")])
    assert [entry.path for entry in tree] == ["a", "a-b", "a/x", "b", "b/c", "b/c/d"]
    assert [entry.mode for entry in tree if entry.kind is Kind.FOLDER] == [0o700, 0o755, 0o755]


def test_the_same_entry_may_come_twice(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"--data--")
    lying = Entry("a", Kind.FILE, 0o644, data=Slice(tmp_path / "archive", 2, 4))
    assert make_tree([lying, _file("a", b"data")]) == (lying,)


@pytest.mark.parametrize("other", [_file("a", b"other"), _file("a", b"data", 0o600)])
def test_two_different_entries_of_a_path_are_refused(other: Entry) -> None:
    with pytest.raises(UserError, match="a: given twice"):
        make_tree([_file("a", b"data"), other])


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "./a", "a/.", "..", "a/../b", "a\0b", "n" * 256, "d/" * 2100]
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UserError):
        make_tree([_file(path)])


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.SYMLINK, Kind.CHAR])
def test_nothing_lies_below_what_is_no_folder(kind: Kind) -> None:
    link = Entry("a", kind, 0o777, target="/etc" if kind is Kind.SYMLINK else "")
    with pytest.raises(UserError, match="lies below a, which is a"):
        make_tree([link, _file("a/b/c")])


def test_a_tree_moves_below_a_folder() -> None:
    moved = under(make_tree([_file("etc/x", b"1")]), "containers/services/a")
    assert [entry.path for entry in moved][-3:] == [
        "containers/services/a",
        "containers/services/a/etc",
        "containers/services/a/etc/x",
    ]
    with pytest.raises(UserError):
        under((), "../outside")


def test_data_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"short")
    with pytest.raises(BuildError, match="shorter than it was"):
        Slice(tmp_path / "archive", 2, 9).read()
    with pytest.raises(BuildError, match="cannot be read"):
        Slice(tmp_path / "gone", 0, 1).read()


def test_the_epoch_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert epoch() == EPOCH
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert epoch() == 1700000000
    for wrong in ("", "-1", "now", "99999999999"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(UserError, match="SOURCE_DATE_EPOCH"):
            epoch()
