# SPDX-License-Identifier: Apache-2.0
"""The folders that a system has before an assembly's own files are laid over it."""

from __future__ import annotations

from collections.abc import Sequence

from farm.oci.store import Store, StoredImage
from farm.oci.tree import Entry, Kind, Tree

_KIND = "folders"


def folders_of(base: Tree, images: Sequence[StoredImage], store: Store) -> dict[str, Entry]:
    """Return the folders of the base and of the init images, by path; the last one counts.

    Raises:
        BuildError: an image is damaged.
    """
    found = {entry.path: entry for entry in base if entry.kind is Kind.FOLDER}
    for image in images:
        for path, mode, uid, gid in _of_image(image, store):
            found[path] = Entry(path, Kind.FOLDER, mode, uid, gid)
    return found


def _of_image(image: StoredImage, store: Store) -> list[tuple[str, int, int, int]]:
    """What an image has; it is read once."""
    known = store.recall_json(_KIND, image.digest)
    if isinstance(known, list):
        return [(path, mode, uid, gid) for path, mode, uid, gid in known]
    folders = [
        (entry.path, entry.mode, entry.uid, entry.gid)
        for entry in store.tree(image)
        if entry.kind is Kind.FOLDER
    ]
    store.remember_json(_KIND, image.digest, folders)
    return folders
