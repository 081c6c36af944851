# SPDX-License-Identifier: Apache-2.0
"""Composing: the segments, their order, and which of them a change costs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.core.progress import SilentReporter
from farm.core.run import run
from farm.oci.store import Store
from farm.oci.tree import Entry, Kind, Tree, make_tree
from farm.rootfs import BootFacts, Container, Segment, compose

from .containers import container, small_image


class Composer:
    """Composes with an init image that has a merged /usr."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.init = make_tree(
            [
                Entry("lib", Kind.SYMLINK, 0o777, target="usr/lib"),
                Entry("usr/lib/libc.so", Kind.FILE, 0o644, data=b"c"),
            ]
        )

    def __call__(
        self, containers: Sequence[Container] = (), *, files: Tree = (), modules: Tree = ()
    ) -> tuple[Segment, ...]:
        image = self.store.put_image(ref="farm/init", arch=Arch.ARM64, trees=[self.init], labels={})
        return compose(
            init=[image],
            containers=containers,
            files=files,
            modules=modules,
            facts=BootFacts("board"),
            codec="zstd",
            store=self.store,
            reporter=SilentReporter(),
        )

    def unpacked(self, segments: Sequence[Segment], where: Path) -> Path:
        """Unpack the segments one after the other, as the kernel does."""
        for one in segments:
            archive = zstandard.ZstdDecompressor().stream_reader(
                io.BytesIO(self.store.read_blob(one.blob.digest))
            )
            run(["busybox", "cpio", "-i", "-u"], cwd=where, input=archive.read(), timeout_s=60)
        return where


@pytest.fixture
def composer(tmp_path: Path) -> Composer:
    return Composer(tmp_path / "store")


def _file(path: str, data: bytes) -> Tree:
    return make_tree([Entry(path, Kind.FILE, 0o644, data=data)])


@pytest.mark.root
def test_modules_and_files_go_where_the_links_of_init_lead(
    composer: Composer, tmp_path: Path
) -> None:
    one = container(small_image(composer.store, "farm/web"), "services", "web")
    segments = composer(
        [one],
        modules=_file("lib/modules/1/a.ko", b"a"),
        files=_file("lib/own", b"own"),
    )
    assert [made.name for made in segments] == [
        *("base", "init farm/init", "modules", "services web", "bundles", "files"),
    ]
    root = tmp_path / "root"
    root.mkdir()
    composer.unpacked(segments, root)
    assert (root / "lib").readlink() == Path("usr/lib")
    names = {path.name for path in (root / "usr/lib").iterdir()}
    assert names == {"libc.so", "modules", "own"}
    assert (root / "containers/files/services-web/go").read_bytes() == b"x"
    assert (root / "containers/services/web/config.json").is_file()


def test_a_component_that_changes_costs_one_segment(composer: Composer) -> None:
    web, log = (
        container(small_image(composer.store, f"farm/{name}", name.encode()), name=name)
        for name in ("web", "log")
    )
    before = composer([web, log])
    changed = replace(web, image=small_image(composer.store, "farm/web", b"new"))
    after = composer([changed, log])
    differ = {old.name for old, new in zip(before, after, strict=True) if old != new}
    assert differ == {"services web"}


def test_a_step_that_moves_costs_the_bundles_alone(composer: Composer) -> None:
    steps = [
        container(small_image(composer.store, f"farm/{name}", name.encode()), "onboot", name)
        for name in ("one", "two")
    ]
    before = composer([steps[0], replace(steps[1], index=1)])
    after = composer([replace(steps[1], index=0), replace(steps[0], index=1)])
    blobs = {made.blob.digest for made in before}
    assert [made.name for made in after if made.blob.digest not in blobs] == ["bundles"]


def test_containers_that_cannot_write_share_a_segment(composer: Composer) -> None:
    image = small_image(composer.store, "farm/web")
    pair = [container(image, name=name, readonly=True) for name in ("a", "b")]
    assert [made.name for made in composer(pair)] == [
        *("base", "init farm/init", "services a, b", "bundles"),
    ]


def test_what_is_known_is_composed_without_its_images(composer: Composer) -> None:
    image = small_image(composer.store, "farm/web")
    first = composer([container(image, name="web")])
    init = composer.store.find("farm/init", Arch.ARM64)
    assert init is not None
    for digest in (image.layers[0].digest, init.layers[0].digest):
        composer.store.blob_path(digest).unlink()
    again = compose(
        init=[init],
        containers=[container(image, name="web")],
        files=(),
        modules=(),
        facts=BootFacts("board"),
        codec="zstd",
        store=composer.store,
        reporter=SilentReporter(),
    )
    assert again == first


def test_two_containers_of_one_name_are_refused_in_one_list_only(composer: Composer) -> None:
    image = small_image(composer.store, "farm/web")
    step, service = (container(image, kind, "web") for kind in ("onboot", "services"))
    assert composer([step, service])
    with pytest.raises(UserError, match="stands twice"):
        composer([service, service])
