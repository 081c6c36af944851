# SPDX-License-Identifier: Apache-2.0
"""What an image takes from a prepared kernel: its modules with all that they need, device trees.

Each is remembered in the store by the kernel's digest and what was asked, so that the archives
of the kernel, some 130 MB, are opened only for a question that is new.
"""

from __future__ import annotations

import difflib
import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from farm.core.errors import BuildError, UserError
from farm.kernels.contents import kernel_tar, read_contents
from farm.kernels.index import plain_path, reduced_alias, reduced_dep, reduced_softdep
from farm.kernels.ko import modinfo, uncompressed, without_signature
from farm.kernels.prepare import PreparedKernel
from farm.oci.layer import read_layers, write_layer
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, Slice, Tree, epoch, make_tree

MODULE_LIST = "etc/farm/modules"
"""In the guest: absolute paths of the modules that init loads, one a line, in this order."""

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DEVICE_TREE = "application/vnd.farm.device-tree"
_WRITER = 1
"""Raised whenever the same modules give another tree than before."""
_MAX_LINKS = 8


@dataclass(frozen=True)
class ModulePlan:
    """Which modules an image takes, and why not others.

    Args:
        load_order: names of the modules that init loads, in this order.
        built_in: those asked for that the kernel has built in.
        firmware: files of the tree that modules name, below `lib/firmware`.
        missing_firmware: what modules name and no package of the kernel's definition has; most
            of it is for variants of a device that the board does not have.
    """

    load_order: tuple[str, ...]
    built_in: tuple[str, ...]
    firmware: tuple[str, ...]
    missing_firmware: tuple[str, ...]


def device_tree(prepared: PreparedKernel, name: str, store: Store) -> bytes:
    """Return a device tree of the kernel.

    Args:
        name: as `broadcom/bcm2711-rpi-4-b.dtb`.

    Raises:
        UserError: the kernel has none of that name; the hint names the nearest.
    """
    key = f"{prepared.image.digest} {name}"
    known = store.recall("device-tree", key)
    if known is not None:
        return store.read_blob(known.digest)
    trees = {
        entry.path.removeprefix("dtbs/"): entry
        for entry in store.tree(prepared.image)
        if entry.kind is Kind.FILE and entry.path.startswith("dtbs/")
    }
    found = trees.get(name)
    if found is None:
        near = difflib.get_close_matches(name, trees, n=3)
        raise UserError(
            f"kernel {prepared.name} ({prepared.release}) has no device tree {name!r}",
            hint=f"near it are {', '.join(near)}" if near else f"it has {len(trees)}",
        )
    data = found.read()
    store.remember("device-tree", key, store.put_blob(data, _DEVICE_TREE))
    return data


def module_tree(prepared: PreparedKernel, modules: Sequence[str], store: Store) -> Tree:
    """Return the files of modules, of all that they need, and of the firmware that they name.

    The modules are unpacked, since the image is compressed as a whole, and lie with reduced
    lists for `modprobe` in `usr/lib/modules/RELEASE`; `MODULE_LIST` is for init.

    Args:
        modules: names, in the order in which they are to be loaded where nothing else orders
            them; built-in ones are fulfilled already.

    Raises:
        UserError: a name is no module of this kernel; the hint names the nearest.
        BuildError: a module's file cannot be understood.
    """
    return _planned(prepared, modules, store)[1]


def module_plan(prepared: PreparedKernel, modules: Sequence[str], store: Store) -> ModulePlan:
    """Return what `module_tree` would take; raises as it does."""
    return _planned(prepared, modules, store)[0]


def _planned(
    prepared: PreparedKernel, modules: Sequence[str], store: Store
) -> tuple[ModulePlan, Tree]:
    wanted = tuple(dict.fromkeys(modules))
    key = json.dumps([_WRITER, epoch(), prepared.image.digest, prepared.strip_signatures, wanted])
    facts = store.recall_json("module-plan", key)
    layer = store.recall("module-tree", key)
    if isinstance(facts, dict) and layer is not None:
        plan = ModulePlan(**{name: tuple(values) for name, values in facts.items()})
        return plan, read_layers([store.blob_path(layer.digest)], name="modules")
    plan, tree = _Selection(prepared, store).take(wanted)
    file = io.BytesIO()
    write_layer(tree, file)
    store.remember("module-tree", key, store.put_blob(file.getvalue(), _LAYER))
    store.remember_json("module-plan", key, asdict(plan))
    return plan, tree


class _Selection:
    """Modules taken out of one kernel's archive."""

    def __init__(self, prepared: PreparedKernel, store: Store) -> None:
        self._prepared = prepared
        self._archive = kernel_tar(prepared, store)
        self._contents = read_contents(prepared, store, self._archive)
        self._base = f"lib/modules/{prepared.release}"

    def take(self, wanted: Sequence[str]) -> tuple[ModulePlan, Tree]:
        index = self._contents.index
        order = index.load_order(wanted)
        entries: list[Entry] = []
        firmware: dict[str, Entry] = {}
        missing: list[str] = []
        for name in order:
            path = f"{self._base}/{index.modules[name].path}"
            elf = uncompressed(self._read(path), path)
            for pattern in modinfo(elf, path).get("firmware", ()):
                found = self._firmware(pattern)
                firmware |= {entry.path: entry for entry in found}
                if not found:
                    missing.append(pattern)
            if self._prepared.strip_signatures:
                elf = without_signature(elf, path)
            entries.append(_file(f"usr/{plain_path(path)}", elf))
        entries += self._lists(order)
        plan = ModulePlan(
            load_order=order,
            built_in=tuple(name for name in wanted if name.replace("-", "_") not in index.modules),
            firmware=tuple(sorted(path.removeprefix("usr/lib/firmware/") for path in firmware)),
            missing_firmware=tuple(sorted(set(missing))),
        )
        return plan, make_tree([*entries, *firmware.values()])

    def _lists(self, order: Sequence[str]) -> Iterator[Entry]:
        index = self._contents.index
        paths = [plain_path(f"{self._base}/{index.modules[name].path}") for name in order]
        yield _text(MODULE_LIST, "".join(f"/usr/{path}\n" for path in paths))
        for name, text in (
            ("modules.dep", reduced_dep(index, order)),
            ("modules.alias", reduced_alias(index, order)),
            ("modules.softdep", reduced_softdep(index, order)),
            ("modules.builtin", self._contents.built_in_list),
        ):
            yield _text(f"usr/{self._base}/{name}", text)

    def _firmware(self, pattern: str) -> list[Entry]:
        """The files that one `firmware=` of a module means; it may be a pattern."""
        entries = []
        for path in sorted({*self._contents.files, *self._contents.links}):
            name = path.removeprefix("lib/firmware/")
            # A kernel with FW_LOADER_COMPRESS unpacks these itself.
            plain = name.removesuffix(".xz").removesuffix(".zst")
            if name != path and (pattern == plain or fnmatchcase(plain, pattern)):
                entries += self._firmware_file(path)
        return entries

    def _firmware_file(self, path: str) -> list[Entry]:
        real = path
        for _ in range(_MAX_LINKS):
            if real in self._contents.files:
                return [_file(f"usr/{path}", self._read(real))]
            target = self._contents.links.get(real)
            if target is None:
                break
            real = posixpath.normpath(posixpath.join(posixpath.dirname(real), target))
        return []

    def _read(self, path: str) -> bytes:
        try:
            offset, size = self._contents.files[path]
        except KeyError:
            raise BuildError(
                f"kernel {self._prepared.name}: {path} is in modules.dep and not in kernel.tar"
            ) from None
        return Slice(self._archive.path, self._archive.offset + offset, size).read()


def _file(path: str, data: bytes) -> Entry:
    return Entry(path, Kind.FILE, 0o644, data=data)


def _text(path: str, text: str) -> Entry:
    return _file(path, text.encode())
