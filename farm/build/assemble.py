# SPDX-License-Identifier: Apache-2.0
"""From an assembly and a board to the image of a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.build.folders import folders_of
from farm.build.record import BuildRecord, ContainerRecord, PartRecord, record_path
from farm.build.resolve import BUILT_HERE, Resolved, Sources, resolve
from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.core.files import write_text
from farm.core.progress import Reporter
from farm.debian import ArchiveSettings, tidy_downloads
from farm.image.boot_files import boot_files
from farm.image.card import CardFile, remove_old, write_card
from farm.kernels import (
    PreparedKernel,
    device_tree,
    module_plan,
    module_tree,
    prepare_kernel,
    tidy_kernels,
)
from farm.oci.files import file_entries
from farm.oci.store import Store
from farm.oci.tree import Tree, make_tree
from farm.rootfs import (
    BootFacts,
    Container,
    Segment,
    build_id,
    compose,
    identity_segment,
)
from farm.rootfs.bundle import base_tree
from farm.spec.assembly import Assembly
from farm.spec.board import Board, PiFirmware
from farm.spec.load import load
from farm.spec.project import FoundKernel, Project


@dataclass(frozen=True)
class Built:
    """An image on the disk, and its record."""

    image: Path
    record: BuildRecord


def build(
    project: Project,
    assembly_file: Path,
    board_name: str,
    *,
    out: Path,
    store: Store,
    settings: ArchiveSettings,
    reporter: Reporter,
) -> Built:
    """Build an assembly for a board, as the image of its card.

    Args:
        project: where boards, kernels and components are looked for.
        assembly_file: the assembly.
        board_name: a board, or a family of boards that the one image serves.
        out: the folder for `NAME-BOARD.img`, its block map and its record.

    Raises:
        UserError: a file has problems, or names something that does not exist.
        BuildError: a part cannot be made.
    """
    _tidy(store)
    assembly = load(assembly_file, Assembly)
    board = project.board(board_name)
    members = project.members(board)
    arch = members[0].arch
    sources = Sources(project, store, settings, reporter)
    found = _kernel(assembly, project, assembly_file)
    kernel = prepare_kernel(found, arch, store, settings, reporter)
    resolved = resolve(assembly, arch, sources, where=str(assembly_file))
    facts = BootFacts(
        board=board.name,
        network_wait_s=max(member.network_wait_s for member in members),
    )
    there = folders_of(base_tree(resolved.containers, facts), resolved.init, store)
    own = file_entries(assembly.files, base=Path(), where=str(assembly_file), folders=there)
    segments = compose(
        init=resolved.init,
        containers=resolved.containers,
        files=make_tree(own),
        modules=_module_files(kernel, _modules(members, resolved), store, reporter),
        facts=facts,
        codec=kernel.codec,
        store=store,
        reporter=reporter,
    )
    identity = build_id(kernel.kernel, segments)
    segments = (*segments, identity_segment(identity, kernel.codec, store))
    files = boot_files(
        members,
        kernel=store.blob_path(kernel.kernel.digest),
        dtbs=_device_trees(members, kernel, store),
        segments=[store.blob_path(segment.blob.digest) for segment in segments],
        firmware=_firmware(members, arch, sources),
        cmdline=f"{found.definition.cmdline} {assembly.kernel.cmdline}",
    )
    name = assembly_file.stem
    image = out / f"{name}-{board.name}.img"
    remove_old(record_path(image))
    with reporter.task(f"writing {image}"):
        card = write_card(image, files, label="FARM", key=f"{name}-{board.name}")
    record = BuildRecord(
        name=name,
        assembly=assembly_file.name,
        board=board.name,
        boards=tuple(member.name for member in members),
        arch=arch,
        digest=card.digest,
        build_id=identity,
        size_bytes=card.size_bytes,
        kernel=assembly.kernel.image,
        kernel_release=kernel.release,
        cmdline=_cmdline(files),
        init_images=tuple(f"{one.ref}@{one.digest}" for one in resolved.init),
        onboot=_records(resolved.containers, "onboot"),
        services=_records(resolved.containers, "services"),
        packages=tuple(sorted({pair for facts in resolved.facts for pair in facts.packages})),
        parts=_parts(files, segments),
    )
    write_text(record_path(image), record.model_dump_json(indent=2) + "\n")
    return Built(image, record)


def _tidy(store: Store) -> None:
    """Remove what earlier builds left, where they were killed."""
    store.tidy()
    tidy_kernels(store)
    tidy_downloads()


def _kernel(assembly: Assembly, project: Project, assembly_file: Path) -> FoundKernel:
    ref = assembly.kernel.image
    if not ref.startswith(BUILT_HERE):
        raise UserError(
            f"{assembly_file}: kernel.image: {ref!r}: expected {BUILT_HERE}NAME",
            hint=f"kernels that can be built: {', '.join(project.kernels())}",
        )
    return project.kernel(ref)


def _modules(members: Sequence[Board], resolved: Resolved) -> tuple[str, ...]:
    """The boards' modules in their order (a watchdog comes first), then the components'."""
    wanted = [name for member in members for name in member.modules]
    wanted += sorted(name for facts in resolved.facts for name in facts.modules)
    return tuple(dict.fromkeys(wanted))


def _module_files(
    kernel: PreparedKernel, names: Sequence[str], store: Store, reporter: Reporter
) -> Tree:
    if missing := module_plan(kernel, names, store).missing_firmware:
        reporter.note(
            f"kernel {kernel.name}: modules name firmware that no package of its definition has: "
            f"{', '.join(missing)}; where a board needs it, add the package to debian.firmware"
        )
    return module_tree(kernel, names, store)


def _device_trees(
    members: Sequence[Board], kernel: PreparedKernel, store: Store
) -> dict[str, bytes]:
    names = [name for member in members for name in member.device_trees]
    return {name: device_tree(kernel, name, store) for name in names}


def _firmware(members: Sequence[Board], arch: Arch, sources: Sources) -> Tree:
    refs = {m.firmware.image: m.name for m in members if isinstance(m.firmware, PiFirmware)}
    trees = [
        sources.store.tree(sources.image(ref, arch, where=f"board {name}: firmware.image"))
        for ref, name in refs.items()
    ]
    return make_tree(entry for tree in trees for entry in tree)


def _records(containers: Sequence[Container], kind: str) -> tuple[ContainerRecord, ...]:
    return tuple(
        ContainerRecord(
            name=one.name,
            image=one.image.ref,
            needs=one.needs,
            ports=one.ports,
            health_s=one.health.timeout_s if one.health else 0,
        )
        for one in containers
        if one.kind == kind
    )


def _cmdline(files: Sequence[CardFile]) -> str:
    """The command line as it stands on the card, for people and tests."""
    for file in files:
        name = file.path.rpartition("/")[2]
        text = b"".join(slot for slot in file.slots if isinstance(slot, bytes)).decode()
        if name == "cmdline.txt":
            return text.strip()
        if name == "extlinux.conf":
            words = (line.strip().partition(" ") for line in text.splitlines())
            return next((rest for key, _, rest in words if key.lower() == "append"), "")
    return ""


def _parts(files: Sequence[CardFile], segments: Sequence[Segment]) -> tuple[PartRecord, ...]:
    """The initramfs by its segments, everything else by its files."""
    parts = [PartRecord(name=f"initramfs/{one.name}", bytes=one.blob.size) for one in segments]
    initramfs = max(files, key=lambda file: len(file.slots))
    parts += [
        PartRecord(name=file.path, bytes=sum(map(_size, file.slots)))
        for file in files
        if file is not initramfs
    ]
    return tuple(parts)


def _size(slot: bytes | Path) -> int:
    return len(slot) if isinstance(slot, bytes) else slot.stat().st_size
