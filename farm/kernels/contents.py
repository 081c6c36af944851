# SPDX-License-Identifier: Apache-2.0
"""What lies in a kernel's `/kernel.tar`: its modules' lists, and where each file's bytes are."""

from __future__ import annotations

import json
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farm.core.errors import BuildError
from farm.core.scratch import scratch_prefix
from farm.kernels.index import Module, ModuleIndex, read_index
from farm.kernels.prepare import PreparedKernel
from farm.oci.store import Store
from farm.oci.tar import read_members
from farm.oci.tree import Kind, Slice

_MEDIA_TYPE = "application/vnd.farm.kernel-contents+json"
_READER = 1
"""Raised whenever the same archive is read to something else than before."""
_LISTS = (
    "modules.dep",
    "modules.softdep",
    "modules.alias",
    "modules.builtin",
    "modules.builtin.modinfo",
)
_MAX_LIST_BYTES = 64 << 20


@dataclass(frozen=True)
class Contents:
    """A `/kernel.tar`, read.

    Args:
        index: what its modules need of each other.
        files: path → where its bytes begin in the archive, and how many they are.
        links: path → where a symbolic link points.
        built_in_list: its `modules.builtin`.
    """

    index: ModuleIndex
    files: Mapping[str, tuple[int, int]]
    links: Mapping[str, str]
    built_in_list: str


def kernel_tar(prepared: PreparedKernel, store: Store) -> Slice:
    """Return where a kernel's `/kernel.tar` lies.

    Raises:
        BuildError: its image has none.
    """
    for entry in store.tree(prepared.image):
        if entry.path == "kernel.tar" and isinstance(entry.data, Slice):
            return entry.data
    raise BuildError(
        f"kernel {prepared.name}: its image {prepared.image.ref} has no /kernel.tar",
        hint="modules come from there: use a kernel that has one",
    )


def read_contents(prepared: PreparedKernel, store: Store, archive: Slice) -> Contents:
    """Return what lies in `/kernel.tar`, read once a kernel and then known.

    Raises:
        BuildError: it is damaged, or its lists are not depmod's.
    """
    key = f"{_READER} {prepared.image.digest}"
    known = store.recall("kernel-contents", key)
    if known is not None:
        return _contents_of_json(json.loads(store.read_blob(known.digest)))
    base = f"lib/modules/{prepared.release}/"
    files: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    with tempfile.NamedTemporaryFile(prefix=scratch_prefix("kernel-"), dir=store.path) as scratch:
        with archive.path.open("rb") as source:
            source.seek(archive.offset)
            shutil.copyfileobj(source, scratch, 1 << 20)
        scratch.flush()
        for member in read_members(Path(scratch.name), name=f"kernel {prepared.name}: kernel.tar"):
            path = posixpath.normpath(member.path).removeprefix("usr/")
            if member.kind is Kind.FILE:
                files[path] = (member.offset, member.size)
            elif member.kind is Kind.SYMLINK:
                links[path] = member.link
    lists = {}
    for name in _LISTS:
        offset, size = files.get(base + name, (0, 0))
        if size > _MAX_LIST_BYTES:
            raise BuildError(f"kernel {prepared.name}: {name} has {size} bytes")
        if base + name in files:
            lists[name] = Slice(archive.path, archive.offset + offset, size).read()
    contents = Contents(
        read_index(lists), files, links, lists.get("modules.builtin", b"").decode(errors="replace")
    )
    data = json.dumps(_contents_to_json(contents), separators=(",", ":"), sort_keys=True)
    store.remember("kernel-contents", key, store.put_blob(data.encode(), _MEDIA_TYPE))
    return contents


def _contents_to_json(contents: Contents) -> dict[str, Any]:
    index = contents.index
    return {
        "modules": {name: asdict(module) for name, module in index.modules.items()},
        "built_in": sorted(index.built_in),
        "built_in_aliases": index.built_in_aliases,
        "files": contents.files,
        "links": contents.links,
        "built_in_list": contents.built_in_list,
    }


def _contents_of_json(value: dict[str, Any]) -> Contents:
    modules = {
        name: Module(
            module["path"], *(tuple(module[key]) for key in ("needs", "before", "after", "aliases"))
        )
        for name, module in value["modules"].items()
    }
    return Contents(
        ModuleIndex(modules, frozenset(value["built_in"]), tuple(value["built_in_aliases"])),
        {path: (place[0], place[1]) for path, place in value["files"].items()},
        value["links"],
        value["built_in_list"],
    )
