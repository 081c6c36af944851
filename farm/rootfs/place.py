# SPDX-License-Identifier: Apache-2.0
"""Placing a tree over files that are there already, so that it follows their symbolic links.

The kernel takes what it unpacks literally: a folder `lib` in a later archive replaces a link
`lib` → `usr/lib` of an earlier one, and with it everything that was reached through it. So the
paths of later trees are rewritten to where those links lead.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from farm.core.errors import UserError
from farm.oci.tree import Entry, Kind, Tree, make_tree

PLACING = 1
"""Version of the rules: raised whenever they put a path elsewhere."""

Links: TypeAlias = Mapping[str, str]
"""Symbolic links by path, each with where it leads: relative to the root, normal."""

_MAX_FOLLOWED = 40


def links_of(tree: Tree) -> dict[str, str]:
    """Return the links of a tree that lead to a path inside it, resolved one step."""
    found = {}
    for entry in tree:
        if entry.kind is Kind.SYMLINK:
            folder = posixpath.dirname(entry.path)
            # From the root there is no way up, so an absolute join keeps `..` inside.
            target = posixpath.normpath(posixpath.join("/", folder, entry.target)).lstrip("/")
            found[entry.path] = target
    return found


def links_after(tree: Tree, links: Links) -> dict[str, str]:
    """Return the links that there are once a placed tree is unpacked over `links`."""
    gone = {entry.path for entry in tree if entry.kind is not Kind.FOLDER}
    left = {path: target for path, target in links.items() if path not in gone}
    return {**left, **links_of(tree)}


def placed(tree: Tree, links: Links) -> Tree:
    """Return a tree with the folders of its paths resolved through links.

    A folder of the tree at the place of a link is left out: what is in it goes where the link
    leads. A file or link of the tree at such a place replaces the link, as unpacking would.

    Raises:
        UserError: a path runs in circles, or two paths meet at one place with different contents.
    """
    if not links:
        return tree
    return make_tree(_moved(tree, links))


def _moved(tree: Tree, links: Links) -> Iterator[Entry]:
    own = {entry.path for entry in tree if entry.kind is not Kind.FOLDER}
    for entry in tree:
        if entry.kind is Kind.FOLDER:
            if entry.path in links:
                continue
            if path := _resolved(entry.path, links, own):
                yield replace(entry, path=path)
        else:
            folder, name = posixpath.split(entry.path)
            yield replace(entry, path=posixpath.join(_resolved(folder, links, own), name))


def _resolved(path: str, links: Links, own: set[str]) -> str:
    """Follow the links in a path, from its first name on."""
    done = ""
    todo = path.split("/") if path else []
    for _ in range(_MAX_FOLLOWED * 100):
        if not todo:
            return done
        done = posixpath.join(done, todo.pop(0))
        if done in links and done not in own:
            todo = [*(part for part in links[done].split("/") if part), *todo]
            done = ""
    raise UserError(f"{path}: its symbolic links run in circles")
