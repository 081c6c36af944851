# SPDX-License-Identifier: Apache-2.0
"""Folders keep their modes when an assembly puts files into them."""

from __future__ import annotations

from pathlib import Path

from farm.build.folders import folders_of
from farm.core.arch import Arch
from farm.oci.files import file_entries
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, make_tree
from farm.rootfs import BootFacts
from farm.rootfs.bundle import base_tree
from farm.spec.assembly import FileEntry


def _files(*paths: str) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(path=path, contents="x") for path in paths)


def test_parents_stay_as_the_system_has_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    init = store.put_image(
        ref="farm/init",
        arch=Arch.ARM64,
        trees=[make_tree([Entry("var/empty", Kind.FOLDER, 0o711, 7, 8)])],
        labels={},
    )
    base = base_tree((), BootFacts(board="rpi4", network_wait_s=0))
    for known in range(2):  # read, then recalled
        there = folders_of(base, [init], Store(tmp_path))
        files = _files("tmp/x", "root/.ssh/authorized_keys", "var/empty/y", "srv/a/b")
        tree = {
            entry.path: entry
            for entry in make_tree(file_entries(files, base=tmp_path, where="a", folders=there))
        }
        assert tree["tmp"].mode == 0o1777, known
        assert tree["root"].mode == 0o700
        assert (tree["var/empty"].mode, tree["var/empty"].uid) == (0o711, 7)
        # What is new follows the modes of what it holds.
        assert tree["root/.ssh"].mode == 0o700 and tree["srv/a"].mode == 0o700
        assert tree["srv"].mode == 0o755


def test_a_folder_that_is_named_gets_the_mode_that_is_given(tmp_path: Path) -> None:
    there = folders_of(make_tree([Entry("tmp", Kind.FOLDER, 0o1777)]), [], Store(tmp_path))
    files = (FileEntry(path="tmp", directory=True, mode="0750"), *_files("tmp/x"))
    tree = make_tree(file_entries(files, base=tmp_path, where="a", folders=there))
    assert [entry.mode for entry in tree] == [0o750, 0o600]
