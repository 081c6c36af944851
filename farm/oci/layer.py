# SPDX-License-Identifier: Apache-2.0
"""Image layers: a tree to a tar archive, and a stack of archives to a tree.

Source: https://github.com/opencontainers/image-spec/blob/main/layer.md. A layer is anybody's
file: nothing in it reaches outside of the tree, and what it may hold is bounded. Extended
attributes are not kept: neither cpio nor FAT has a place for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from farm.core.errors import BuildError, FarmError
from farm.core.files import sha256_file
from farm.core.places import cache_dir
from farm.oci import tar
from farm.oci.tree import MAX_PATH_BYTES, Entry, Kind, Slice, Tree, check_path, epoch, make_tree
from farm.oci.unpack import MAX_UNPACKED_BYTES, compression, unpack

MAX_LAYERS = 128
MAX_ENTRIES = 500_000
_MAX_LINKS = 40
_MAX_ID = 0xFFFFFFFF
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# Left in layers by old versions of aufs; means nothing to others.
_AUFS = ".wh..wh."


def write_layer(tree: Tree, file: tar.Sink) -> None:
    """Write a tree as an uncompressed layer: the same tree and epoch give the same bytes.

    Raises:
        BuildError: a file's data cannot be read.
    """
    time = epoch()
    for entry in tree:
        tar.write_entry(entry, time, file)
    tar.write_end(file)


def read_layers(paths: Sequence[Path], *, name: str, scratch: Path | None = None) -> Tree:
    """Read a stack of layers, the lowest first, to the tree that they make together.

    Args:
        paths: the layers' files, uncompressed or in gzip, zstd or xz.
        name: what messages call the whole.
        scratch: folder that compressed layers are unpacked to, where their data is left;
            None means farm's cache.

    Raises:
        BuildError: a layer is damaged, hostile or beyond the bounds; the message names the
            member.
    """
    if len(paths) > MAX_LAYERS:
        raise BuildError(f"{name}: {len(paths)} layers; {MAX_LAYERS} are the most")
    stack = _Stack()
    for number, path in enumerate(paths, 1):
        label = f"{name}: layer {number} of {len(paths)}"
        plain = _plain(path, scratch or cache_dir() / "scratch", label)
        try:
            stack.apply(plain, label)
        except FarmError as error:
            if error.message.startswith(label):
                raise
            raise BuildError(f"{label}: {error.message}", hint=error.hint) from error
    return stack.tree(name)


def _plain(path: Path, scratch: Path, label: str) -> Path:
    try:
        with path.open("rb") as file:
            codec = compression(file.read(8))
            if codec is None:
                return path
            file.seek(0)
            return unpack(file, codec, scratch / f"{sha256_file(path)}.tar", name=label)
    except OSError as error:
        raise BuildError(f"{label}: {path}: {error.strerror}") from error


@dataclass(slots=True)
class _Node:
    """A path of the stack. `entry` is None for a folder that no layer names."""

    path: str
    entry: Entry | None
    layer: int
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.entry.kind if self.entry else Kind.FOLDER


class _Stack:
    def __init__(self) -> None:
        self._root = _Node("", None, 0)
        self._layer = 0
        self._seen = 0

    def apply(self, path: Path, label: str) -> None:
        self._layer += 1
        added: list[tuple[tar.Member, list[str]]] = []
        hidden: dict[tuple[str, ...], str] = {}
        for member in tar.read_members(path, name=label):
            self._seen += 1
            if self._seen > MAX_ENTRIES:
                raise BuildError(f"more than {MAX_ENTRIES} members in all layers")
            names = _names(member.path)
            if not names:
                continue
            if names[-1].startswith(_WHITEOUT):
                if hidden.setdefault(tuple(names), member.path) is not member.path:
                    raise BuildError(f"{member.path}: stands twice in the layer")
            else:
                added.append((member, names))
        # Whiteouts hide what is below their layer, wherever in it they stand.
        for whiteout in hidden:
            self._hide(list(whiteout))
        for member, names in added:
            self._add(member, names, path)

    def tree(self, name: str) -> Tree:
        entries = tuple(self._entries())
        total = sum(entry.size for entry in entries)
        if total > MAX_UNPACKED_BYTES:
            raise BuildError(
                f"{name}: {total >> 20} MiB of files; {MAX_UNPACKED_BYTES >> 20} are the most"
            )
        return make_tree(entries)

    def _entries(self) -> Iterator[Entry]:
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            waiting.extend(node.children.values())
            if node.entry:
                yield node.entry
            elif node.path:
                yield Entry(node.path, Kind.FOLDER, 0o755)

    def _hide(self, names: list[str]) -> None:
        base = names[-1]
        folder = self._walk(names[:-1], "/".join(names))
        if folder is None or folder.kind is not Kind.FOLDER:
            return
        if base == _OPAQUE:
            folder.children.clear()
        elif not base.startswith(_AUFS):
            folder.children.pop(base.removeprefix(_WHITEOUT), None)

    def _add(self, member: tar.Member, names: list[str], path: Path) -> None:
        folder = self._make_folder(names[:-1], member.path)
        base = names[-1]
        real = f"{folder.path}/{base}" if folder.path else base
        check_path(real)
        there = folder.children.get(base)
        if there and there.layer == self._layer and there.entry:
            both_folders = there.kind is Kind.FOLDER and member.kind is Kind.FOLDER
            if not both_folders:
                raise BuildError(f"{member.path}: stands twice in the layer")
        entry = self._entry(member, real, path)
        if there and entry.kind is Kind.FOLDER and there.kind is Kind.FOLDER:
            there.entry = entry
            there.layer = self._layer
            return
        if there and there.layer == self._layer and there.children:
            raise BuildError(f"{member.path}: a {entry.kind} in the place of a folder")
        folder.children[base] = _Node(real, entry, self._layer)

    def _entry(self, member: tar.Member, real: str, path: Path) -> Entry:
        if member.uid > _MAX_ID or member.gid > _MAX_ID:
            raise BuildError(f"{member.path}: its owner {member.uid}:{member.gid} is out of range")
        if member.kind is None:
            return replace(self._linked(member), path=real)
        if member.kind is Kind.SYMLINK and (not member.link or "\0" in member.link):
            raise BuildError(f"{member.path}: a symbolic link that points nowhere")
        if len(member.link) > MAX_PATH_BYTES:
            raise BuildError(f"{member.path[:60]}: a link longer than a path may be")
        return Entry(
            path=real,
            kind=member.kind,
            mode=0o777 if member.kind is Kind.SYMLINK else member.mode,
            uid=member.uid,
            gid=member.gid,
            target=member.link if member.kind is Kind.SYMLINK else "",
            rdev=member.rdev,
            data=Slice(path, member.offset, member.size) if member.size else b"",
        )

    def _linked(self, member: tar.Member) -> Entry:
        try:
            names = _names(member.link)
        except BuildError:
            names = []
        folder = self._walk(names[:-1], member.path) if names else None
        node = folder.children.get(names[-1]) if folder else None
        if node is None or node.entry is None or node.kind is Kind.FOLDER:
            raise BuildError(f"{member.path}: a hard link to {member.link}, which is no file there")
        return node.entry

    def _make_folder(self, names: list[str], member: str) -> _Node:
        node = self._walk(names, member, make=True)
        if node is None or node.kind is not Kind.FOLDER:
            below = node.path if node else "/".join(names)
            raise BuildError(f"{member}: lies below {below}, which is no folder")
        return node

    def _walk(self, names: list[str], member: str, *, make: bool = False) -> _Node | None:
        """Follow a folder's path inside the tree, links included; None where it ends early."""
        at: list[_Node] = [self._root]
        waiting = list(reversed(names))
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(at) == 1:
                    raise BuildError(f"{member}: a symbolic link on its way leads out of the tree")
                at.pop()
                continue
            node = at[-1].children.get(name)
            if node is None:
                if not make or at[-1].kind is not Kind.FOLDER:
                    return None
                path = f"{at[-1].path}/{name}" if at[-1].path else name
                check_path(path)
                node = at[-1].children[name] = _Node(path, None, self._layer)
            if node.kind is Kind.SYMLINK and node.entry:
                links += 1
                if links > _MAX_LINKS:
                    raise BuildError(f"{member}: too many symbolic links on its way")
                target = node.entry.target
                if target.startswith("/"):
                    at = [self._root]
                waiting.extend(reversed(target.split("/")))
                continue
            at.append(node)
        return at[-1]


def _names(path: str) -> list[str]:
    """Split a member's path, which may begin with / or ./, into names that stay inside."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in path:
        raise BuildError(f"{path!r}: leads out of the file tree")
    return names
