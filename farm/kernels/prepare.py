# SPDX-License-Identifier: Apache-2.0
"""Making a kernel ready for images: fetched, unpacked, listed and compressed once, then known.

What comes out is an image of the store in LinuxKit's layout: `/kernel`, `/kernel.tar` (to be
unpacked at /: modules, depmod's lists, firmware) and `/dtbs`, a layer each.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.core.files import locked
from farm.core.progress import Reporter, Task
from farm.core.run import find_program, run
from farm.core.scratch import remove_left_scratch, scratch_prefix
from farm.debian import Archive, ArchiveSettings, Package, StaleIndexError
from farm.kernels.unpacked import GZIP_LEVEL, UnpackedKernel
from farm.oci.layer import write_layer
from farm.oci.store import Descriptor, Store, StoredImage
from farm.oci.tree import Entry, Kind, Slice, epoch, make_tree
from farm.spec.project import FoundKernel

KERNEL = "application/vnd.farm.kernel"
"""Media type of the file for the card."""
LABEL = "io.farm.kernel"
"""Label of the image: JSON of all that it was made from."""
STEPS = 4
_KIND = "kernel"
_SCRATCH = "kernel-"
_WRITER = 1
"""Raised whenever the same packages give another image than before."""
_PARTS = ("linux-image-", "linux-modules-")
_UNPACK_LIMIT_S = 600


@dataclass(frozen=True)
class PreparedKernel:
    """A kernel that is ready for images.

    Args:
        name: its definition's.
        release: what `uname -r` says.
        arch: what it runs on.
        image: its image in the store.
        codec: what its initramfs may be compressed with.
        kernel: the blob that goes onto the card; the same bytes as the image's `/kernel`.
        strip_signatures: whether modules are taken without their signatures.
    """

    name: str
    release: str
    arch: Arch
    image: StoredImage
    codec: Literal["zstd", "gzip"]
    kernel: Descriptor
    strip_signatures: bool


def prepare_kernel(
    found: FoundKernel,
    arch: Arch,
    store: Store,
    settings: ArchiveSettings,
    reporter: Reporter,
) -> PreparedKernel:
    """Return a kernel ready for images, from the store where that has been done before.

    Raises:
        UserError: the definition has no package for this architecture, or none of that name.
        BuildError: the packages cannot be had, or hold no such kernel.
        MissingProgramError: depmod or dpkg-deb is not installed.
    """
    definition = found.definition.debian
    package = definition.packages.get(arch)
    if package is None:
        raise UserError(
            f"kernel {found.definition.name}: no package for {arch}",
            hint=f"{found.path}: debian.packages has {', '.join(definition.packages)}",
        )
    archive = Archive(
        settings,
        arch=arch,
        suite=definition.suites.get(arch, definition.suite),
        areas=definition.areas,
    )
    try:
        return _from_archive(found, arch, package, archive, store, reporter)
    except StaleIndexError:
        archive.refresh(reporter)
        return _from_archive(found, arch, package, archive, store, reporter)


def _from_archive(
    found: FoundKernel,
    arch: Arch,
    package: str,
    archive: Archive,
    store: Store,
    reporter: Reporter,
) -> PreparedKernel:
    definition = found.definition
    # Of all that the meta package would install, the kernel's own parts are wanted.
    packages = tuple(
        part
        for part in archive.resolve([package], dependencies=True, reporter=reporter)
        if part.name == package or part.name.startswith(_PARTS)
    )
    if firmware := definition.debian.firmware:
        packages += archive.resolve(firmware, dependencies=False, reporter=reporter)
    about = _about(found, arch, packages, store)
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    if (known := _recalled(found, arch, store, key)) is not None:
        return known
    with locked(store.path.parent / "locks" / f"kernel-{key[:16]}"):
        # Another farm may have made it in the meantime.
        if (known := _recalled(found, arch, store, key)) is not None:
            return known
        debs = archive.fetch(packages, reporter)
        with reporter.task(f"kernel {definition.name} for {arch}, once (steps)") as task:
            labels = {LABEL: json.dumps(about, sort_keys=True)}
            made = put_kernel(definition.name, arch, debs, store, labels=labels, task=task)
        store.remember(f"{_KIND}-file", key, made.kernel)
        facts = {"digest": made.image.digest, "release": made.release, "codec": made.codec}
        store.remember_json(_KIND, key, facts)
        return _prepared(found, made)


def _about(
    found: FoundKernel, arch: Arch, packages: Sequence[Package], store: Store
) -> dict[str, Any]:
    """All that the image's bytes depend on."""
    return {
        "writer": _WRITER,
        "epoch": epoch(),
        "arch": str(arch),
        "definition": found.definition.debian.model_dump(mode="json"),
        "packages": sorted([part.name, part.version, part.sha256] for part in packages),
        "depmod": _depmod_version(store),
        "zlib": f"{zlib.ZLIB_RUNTIME_VERSION} -{GZIP_LEVEL}",
    }


def _depmod_version(store: Store) -> str:
    """The version of depmod, asked once for each program file: starting it costs more."""
    path = Path(find_program("depmod")).resolve()
    status = path.stat()
    key = f"{path} {status.st_size} {status.st_mtime_ns}"
    known = store.recall_json("depmod", key)
    if isinstance(known, list) and len(known) == 1 and isinstance(known[0], str):
        return known[0]
    version = run(["depmod", "--version"], timeout_s=60).stdout.decode(errors="replace")
    version = version.partition("\n")[0]
    store.remember_json("depmod", key, [version])
    return version


def _recalled(found: FoundKernel, arch: Arch, store: Store, key: str) -> PreparedKernel | None:
    facts = store.recall_json(_KIND, key)
    blob = store.recall(f"{_KIND}-file", key)
    if not isinstance(facts, dict) or blob is None:
        return None
    try:
        image = store.image(_ref(found.definition.name), facts["digest"], arch)
    except BuildError:
        # A part of it was removed from the store: it is made again.
        return None
    return _prepared(found, KernelImage(image, facts["release"], facts["codec"], blob))


def _ref(name: str) -> str:
    return f"farm/kernels/{name}"


def _prepared(found: FoundKernel, made: KernelImage) -> PreparedKernel:
    return PreparedKernel(
        name=found.definition.name,
        release=made.release,
        arch=made.image.arch,
        image=made.image,
        codec=made.codec,
        kernel=made.kernel,
        strip_signatures=found.definition.strip_module_signatures,
    )


@dataclass(frozen=True)
class KernelImage:
    """A kernel in the store: what `PreparedKernel` says of it, without its definition."""

    image: StoredImage
    release: str
    codec: Literal["zstd", "gzip"]
    kernel: Descriptor


def put_kernel(
    name: str,
    arch: Arch,
    debs: Sequence[Path],
    store: Store,
    *,
    labels: Mapping[str, str],
    task: Task,
) -> KernelImage:
    """Make packages of a kernel into its image.

    Args:
        name: what the kernel is called.
        arch: what it runs on.
        debs: its packages, and those of firmware.
        store: where it goes.
        labels: labels of the image.
        task: told of `STEPS` steps.

    Raises:
        BuildError: the packages cannot be unpacked, or hold no kernel that farm can use.
        MissingProgramError: depmod or dpkg-deb is not installed.
    """
    with _scratch(store) as folder:
        root = folder / "root"
        task.update(0, STEPS, "unpacking")
        for deb in debs:
            run(["dpkg-deb", "-x", deb, root], timeout_s=_UNPACK_LIMIT_S, what=f"unpacking {deb}")
        unpacked = UnpackedKernel.find(root, name)
        codec = unpacked.codec()
        task.update(1, STEPS, f"{unpacked.release}: depmod, gzip")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            listed = pool.submit(unpacked.run_depmod)
            kernel = unpacked.kernel(arch)
            listed.result()
        task.update(2, STEPS, f"{unpacked.release}: modules")
        tar = folder / "kernel.tar"
        with tar.open("wb") as file:
            write_layer(unpacked.modules(), file)
        task.update(3, STEPS, f"{unpacked.release}: into the store")
        modules = Slice(tar, 0, tar.stat().st_size)
        image = store.put_image(
            ref=_ref(name),
            arch=arch,
            trees=(
                make_tree([Entry("kernel", Kind.FILE, 0o644, data=kernel)]),
                make_tree([Entry("kernel.tar", Kind.FILE, 0o644, data=modules)]),
                unpacked.device_trees(),
            ),
            labels=labels,
        )
        blob = store.put_blob(kernel, KERNEL)
        task.update(4, STEPS, unpacked.release)
    return KernelImage(image, unpacked.release, codec, blob)


def tidy_kernels(store: Store) -> None:
    """Remove the files of kernels that were being made when their process was killed."""
    remove_left_scratch(store.path.parent, _SCRATCH)
    remove_left_scratch(store.path, _SCRATCH)


@contextlib.contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """A folder for one kernel's files, on the store's own disk, gone at the end."""
    store.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=scratch_prefix(_SCRATCH), dir=store.path.parent
    ) as name:
        yield Path(name)
