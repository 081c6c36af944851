# SPDX-License-Identifier: Apache-2.0
"""`farm build` of the reference assembly: everything anew, one new component, nothing new."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Result, Samples, wall_s
from farm.core.arch import Arch
from farm.core.places import cache_dir
from farm.core.progress import SilentReporter
from farm.debian import ArchiveSettings
from farm.kernels import prepare_kernel
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, make_tree
from farm.spec.project import Project, builtin_folder

BOARD = "qemu-arm64"
WARM_GOAL_S = 0.5
COLD_COUNT = 3
WARM_COUNT = 9
PART_BYTES = 2_000_000
PART = "bench/part:1"


def building(scratch: Path) -> list[Result]:
    """Measure builds in a cache of their own below `scratch`."""
    cache, project = scratch / "cache", scratch / "project"
    assembly = project / "assemblies" / "origin.yml"
    assembly.parent.mkdir(parents=True)
    reference = (builtin_folder() / "assemblies" / "origin.yml").read_text()
    assembly.write_text(reference)
    _first(cache, assembly)
    kept = scratch / "kept"
    shutil.copytree(cache / "store", kept, copy_function=os.link)
    cold = []
    for _ in range(COLD_COUNT):
        _forget(cache, kept)
        cold.append(_build(cache, assembly))
    unchanged = Samples("nothing changed", tuple(_build(cache, assembly) for _ in range(5)))
    assembly.write_text(
        reference.replace("services:\n", f"services:\n  - name: part\n    image: {PART}\n", 1)
    )
    warm = []
    for number in range(WARM_COUNT + 1):
        _put_part(cache, number)
        warm.append(_build(cache, assembly))
    first = Samples("cold", tuple(cold))
    changed = Samples("one component changed", tuple(warm[1:]))
    return [
        Result(
            "farm build, cold",
            "Wall time with a new store that has the kernel alone; the Debian packages are"
            " in the cache. Start of the command line included.",
            (first,),
            first.median,
            "s",
            None,
        ),
        Result(
            "farm build, one component changed",
            f"Wall time where one component of {PART_BYTES / 1e6:g} MB has a new digest, already in"
            " the store. Start of the command line included.",
            (changed, unchanged),
            changed.median,
            "s",
            WARM_GOAL_S,
            (f"ratio to cold {changed.median / first.median:.3f}",),
        ),
    ]


def _build(cache: Path, assembly: Path) -> float:
    farm = Path(sys.executable).with_name("farm")
    argv: list[str | Path] = [farm, "build", "--board", BOARD, assembly]
    argv += ["--out", cache.parent / "out"]
    return wall_s(argv, cwd=assembly.parent.parent, cache=cache)


def _first(cache: Path, assembly: Path) -> None:
    """Fetch the packages by one build, then start the store anew with the kernel alone."""
    pool = cache_dir() / "debian" / "pool"
    if pool.is_dir():
        shutil.copytree(pool, cache / "debian" / "pool")
    _build(cache, assembly)
    shutil.rmtree(cache / "store")
    found = Project.find(assembly.parent).kernel("debian")
    with _own_cache(cache):
        settings = ArchiveSettings.from_environment()
        prepare_kernel(found, Arch.ARM64, Store(), settings, SilentReporter())


@contextlib.contextmanager
def _own_cache(cache: Path) -> Iterator[None]:
    before = os.environ.get("FARM_CACHE")
    os.environ["FARM_CACHE"] = str(cache)
    try:
        yield
    finally:
        if before is None:
            del os.environ["FARM_CACHE"]
        else:
            os.environ["FARM_CACHE"] = before


def _forget(cache: Path, kept: Path) -> None:
    """Put the cache back to packages and kernel: what a build makes goes."""
    for path in cache.iterdir():
        if path.name != "debian":
            shutil.rmtree(path)
    for path in (cache / "debian").iterdir():
        if path.name not in ("apt", "pool"):
            shutil.rmtree(path)
    shutil.copytree(kept, cache / "store", copy_function=os.link)


def _put_part(cache: Path, number: int) -> None:
    """Put the component's image into the store, with bytes that no image had before."""
    program = Path(sys.executable).resolve().read_bytes()
    data = (program * (PART_BYTES // len(program) + 1))[: PART_BYTES - 16]
    tree = make_tree(
        [
            Entry("bin/part", Kind.FILE, 0o755, data=data + b"%016d" % number),
            Entry("dev", Kind.FOLDER, 0o755),
        ]
    )
    Store(cache / "store").put_image(
        ref=PART, arch=Arch.ARM64, trees=[tree], labels={}, config={"Cmd": ["/bin/part"]}
    )
