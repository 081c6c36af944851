# SPDX-License-Identifier: Apache-2.0
"""Making a component into an image of the store, once for each thing that it is made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from farm.components.collect import Collected, collect
from farm.components.facts import labels_of
from farm.core.arch import Arch
from farm.core.errors import BuildError, FarmError, UserError
from farm.core.files import locked
from farm.core.progress import Reporter
from farm.debian import Archive, ArchiveSettings, Package, StaleIndexError, package_tree
from farm.debian.deb import merged_path
from farm.oci.files import file_entry
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Entry, Kind, Tree, epoch, make_tree
from farm.spec.assembly import FileEntry
from farm.spec.component import Component, DebianSource
from farm.spec.project import FoundComponent

_BUILDER = 1
"""Goes up whenever the same component would become another image."""

_KIND = "component"
_COMPATIBLE = ("bin", "sbin", "lib", "lib64")
_MAX_OWN_BYTES = 1 << 30


@dataclass(frozen=True)
class _Sources:
    """What a component is made from: named packages, and all that they depend on."""

    archive: Archive | None
    named: tuple[Package, ...] = ()
    closure: tuple[Package, ...] = ()


def build_component(
    found: FoundComponent,
    arch: Arch,
    store: Store,
    settings: ArchiveSettings,
    reporter: Reporter,
) -> StoredImage:
    """Return a component's image, made where the store does not have it.

    It is made anew when the packages' versions, the suite, the definition or the component's own
    files (their bytes and whether they can be executed) have changed; the index of packages is
    the one that was fetched last.

    Args:
        found: its definition and folder.
        arch: what it runs on.
        store: where the image goes, and is looked for.
        settings: where packages come from.
        reporter: told what takes time.

    Raises:
        UserError: a package or file that the definition names does not exist.
        BuildError: the mirror cannot be reached or differs from its index, or the store cannot
            be written.
    """
    component = found.definition
    try:
        own = _own_files(component, found.folder)
        sources = _resolve(component.debian, arch, settings, reporter)
        if (known := _recall(component, arch, own, sources, store)) is not None:
            return known
        with locked(store.path / "locks" / f"{_KIND}-{component.name}-{arch}"):
            # Somebody else may have made it while this process waited.
            if (known := _recall(component, arch, own, sources, store)) is not None:
                return known
            with reporter.task(f"component {component.name} for {arch}"):
                return _build(component, arch, own, sources, store, settings, reporter)
    except FarmError as error:
        error.message = f"component {component.name} ({found.folder}): {error.message}"
        raise


def _build(
    component: Component,
    arch: Arch,
    own: Tree,
    sources: _Sources,
    store: Store,
    settings: ArchiveSettings,
    reporter: Reporter,
) -> StoredImage:
    try:
        collected = _collect(component, arch, sources, reporter)
    except StaleIndexError as error:
        if sources.archive is None:
            raise
        reporter.note(f"{error.message}: fetching a new index")
        sources.archive.refresh(reporter)
        sources = _resolve(component.debian, arch, settings, reporter)
        collected = _collect(component, arch, sources, reporter)
    config = component.config
    settings_of_image: dict[str, object] = {"WorkingDir": config.cwd or "/"}
    if config.command:
        settings_of_image["Cmd"] = list(config.command)
    if config.env:
        settings_of_image["Env"] = list(config.env)
    image = store.put_image(
        ref=f"farm/{component.name}",
        arch=arch,
        trees=[_image_tree(collected.files, own)],
        labels=labels_of(component, collected.packages),
        config=settings_of_image,
    )
    store.remember_json(_KIND, _key(component, arch, own, sources), {"digest": image.digest})
    return image


def _image_tree(files: Sequence[Entry], own: Tree) -> Tree:
    """Lay a component's own files over those of packages, and add the links of a merged /usr."""
    entries = {entry.path: entry for entry in files}
    for entry in own:
        there = entries.get(entry.path)
        # A folder that is there already keeps its mode, unless the component names it.
        if there is None or not _is_plain_folder(entry) or there.kind is not Kind.FOLDER:
            entries[entry.path] = entry
    tops = {entry.path for entry in make_tree(entries.values())}
    for name in _COMPATIBLE:
        if f"usr/{name}" in tops:
            entries.setdefault(name, Entry(name, Kind.SYMLINK, 0o777, target=f"usr/{name}"))
    return make_tree(entries.values())


def _is_plain_folder(entry: Entry) -> bool:
    return entry.kind is Kind.FOLDER and (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0)


# --- packages -----------------------------------------------------------------------------------


def _resolve(
    source: DebianSource | None, arch: Arch, settings: ArchiveSettings, reporter: Reporter
) -> _Sources:
    if source is None:
        return _Sources(None)
    suite = source.suites.get(arch, source.suite)
    archive = Archive(settings, arch=arch, suite=suite, areas=source.areas)
    return _Sources(
        archive,
        archive.resolve(source.packages, dependencies=False, reporter=reporter),
        archive.resolve(source.packages, dependencies=True, reporter=reporter),
    )


def _collect(component: Component, arch: Arch, sources: _Sources, reporter: Reporter) -> Collected:
    archive, source = sources.archive, component.debian
    if archive is None or source is None:
        return Collected((), ())

    def open_packages(packages: Sequence[Package]) -> list[Tree]:
        return [package_tree(deb) for deb in archive.fetch(packages, reporter)]

    return collect(
        source.files, sources.named, sources.closure, arch=arch, open_packages=open_packages
    )


# --- the component's own files ------------------------------------------------------------------


def _own_files(component: Component, folder: Path) -> Tree:
    entries = (_own_file(file, folder) for file in component.files)
    return make_tree(entry for entry in entries if entry is not None)


def _own_file(file: FileEntry, folder: Path) -> Entry | None:
    path = merged_path("/".join(name for name in file.path.split("/") if name not in ("", ".")))
    where = f"files: {file.path}"
    return file_entry(
        file,
        path,
        where=where,
        folder_mode=0o755,
        file_mode=0o644,
        read=lambda source: _read_source(folder / source, file, folder, where),
    )


def _read_source(
    source: Path, file: FileEntry, folder: Path, where: str
) -> tuple[bytes, int] | None:
    if not source.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{where}: {file.source} lies outside of the component's folder",
            hint=f"put a copy into {folder}",
        )
    try:
        status = source.stat()
        if status.st_size > _MAX_OWN_BYTES:
            raise UserError(f"{where}: {source}: larger than 1 GiB")
        data = source.read_bytes()
    except FileNotFoundError as error:
        if file.optional:
            return None
        raise UserError(f"{where}: {source}: no such file") from error
    except OSError as error:
        raise UserError(f"{where}: {source}: {error.strerror}") from error
    # Of its mode only what version control keeps: whoever's umask it is, the same image.
    return data, 0o755 if status.st_mode & 0o100 else 0o644


# --- the cache ----------------------------------------------------------------------------------


def _key(component: Component, arch: Arch, own: Tree, sources: _Sources) -> str:
    """Everything that is in the image's bytes."""
    return json.dumps(
        {
            "builder": _BUILDER,
            "epoch": epoch(),
            "arch": arch,
            "suite": sources.archive.suite if sources.archive else None,
            "named": [asdict(package) for package in sources.named],
            "closure": [package.sha256 for package in sources.closure],
            "definition": component.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "files": [
                (
                    *(entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.target),
                    hashlib.sha256(entry.read()).hexdigest(),
                )
                for entry in own
            ],
        },
        sort_keys=True,
    )


def _recall(
    component: Component, arch: Arch, own: Tree, sources: _Sources, store: Store
) -> StoredImage | None:
    kept = store.recall_json(_KIND, _key(component, arch, own, sources))
    if not isinstance(kept, dict) or not isinstance(kept.get("digest"), str):
        return None
    try:
        return store.image(f"farm/{component.name}", kept["digest"], arch)
    except BuildError:
        # A part of it is gone or damaged: it is made anew.
        return None
