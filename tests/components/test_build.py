# SPDX-License-Identifier: Apache-2.0
"""Components of farm's own, made for real out of Debian's packages."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from farm.components import (
    LABEL_COMPONENT,
    LABEL_CONFIG,
    build_component,
    component_config,
    component_facts,
)
from farm.components import build as build_module
from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.core.progress import SilentReporter
from farm.debian import ArchiveSettings
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Kind
from farm.spec.component import Component
from farm.spec.project import FoundComponent, Project

_SILENT = SilentReporter()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _found(folder: Path, **fields: object) -> FoundComponent:
    folder.mkdir(exist_ok=True)
    given = {"format": 1, "name": "sample", "summary": "A sample", **fields}
    return FoundComponent(Component.model_validate(given), folder)


def _build(found: FoundComponent, store: Store, arch: Arch = Arch.ARM64) -> StoredImage:
    return build_component(found, arch, store, ArchiveSettings.from_environment(), _SILENT)


def _paths(store: Store, image: StoredImage) -> set[str]:
    return {entry.path for entry in store.tree(image) if entry.kind is not Kind.FOLDER}


# --- without packages ---------------------------------------------------------------------------


def test_own_files_make_a_component(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "data").write_text("data")
    (folder / "data").chmod(0o600)
    found = _found(
        folder,
        files=[
            {"path": "/bin/run", "source": "run.sh"},
            {"path": "etc/data", "source": "data", "uid": 7, "gid": 8},
            {"path": "/etc/x", "contents": "x", "mode": "0600"},
            {"path": "/tmp", "directory": True, "mode": "1777"},
            {"path": "/link", "symlink": "etc/x"},
            {"path": "/absent", "source": "absent", "optional": True},
        ],
        needs=["network"],
        ports=[80],
        health={"command": ["/bin/run"]},
        config={"capabilities.add": ["CAP_NET_RAW"], "command": ["/bin/run"], "env": ["A=1"]},
    )
    image = _build(found, store)
    tree = {entry.path: entry for entry in store.tree(image)}
    assert set(tree) == {
        *("usr", "usr/bin", "usr/bin/run", "bin", "etc", "etc/data", "etc/x", "tmp", "link"),
    }
    # The umask of whoever checked it out does not matter: only whether it can be executed.
    assert tree["usr/bin/run"].mode == 0o755
    assert (tree["etc/data"].mode, tree["etc/data"].uid, tree["etc/data"].gid) == (0o644, 7, 8)
    assert (tree["etc/x"].mode, tree["tmp"].mode) == (0o600, 0o1777)
    assert (tree["bin"].target, tree["link"].target) == ("usr/bin", "etc/x")
    facts = component_facts(image)
    assert (facts.name, facts.needs, facts.ports) == ("sample", ("network",), (80,))
    assert facts.health == found.definition.health
    assert component_config(image) == found.definition.config
    assert json.loads(image.labels[LABEL_CONFIG])["capabilities.add"] == ["CAP_NET_RAW"]
    assert (image.cmd, image.env) == (("/bin/run",), ("A=1",))


def test_what_changes_the_bytes_makes_it_anew(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    source = folder / "run.sh"
    source.write_text("one")
    files = [{"path": "/run.sh", "source": "run.sh"}]
    first = _build(_found(folder, files=files), store)
    assert _build(_found(folder, files=files), store) == first
    source.chmod(0o755)
    second = _build(_found(folder, files=files), store)
    source.write_text("two")
    third = _build(_found(folder, files=files), store)
    fourth = _build(_found(folder, files=files, ports=[1]), store)
    fifth = _build(_found(folder, files=files, ports=[1]), store, Arch.ARM)
    assert len({image.digest for image in (first, second, third, fourth, fifth)}) == 5
    # The way back needs no making.
    source.write_text("one")
    source.chmod(0o644)
    assert _build(_found(folder, files=files), store) == first


def test_an_image_whose_blob_is_gone_is_made_anew(tmp_path: Path, store: Store) -> None:
    found = _found(tmp_path / "sample", files=[{"path": "/x", "contents": "x"}])
    first = _build(found, store)
    store.blob_path(first.layers[0].digest).unlink()
    assert _build(found, store) == first
    assert store.blob_path(first.layers[0].digest).exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"path": "/x", "source": "absent"}, "absent: no such file"),
        ({"path": "/x", "source": "../secret"}, "lies outside of the component's folder"),
        ({"path": "/x", "source": "/etc/hostname"}, "lies outside of the component's folder"),
        ({"path": "/x", "source": "link"}, "lies outside of the component's folder"),
        ({"path": "/x", "source": "."}, "Is a directory"),
        ({"path": "/x", "metadata": "yaml"}, "metadata: cannot be written"),
        ({"path": "//", "contents": "x"}, "not a normal path"),
    ],
)
def test_own_files_that_cannot_be_taken_are_told(
    tmp_path: Path, store: Store, file: dict[str, object], message: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    found = _found(tmp_path / "sample", files=[file])
    (tmp_path / "sample" / "link").symlink_to("../secret")
    with pytest.raises(UserError) as caught:
        _build(found, store)
    assert caught.value.message.startswith(f"component sample ({tmp_path / 'sample'}): ")
    assert message in caught.value.message


def test_files_that_exclude_each_other_are_told(tmp_path: Path, store: Store) -> None:
    files = [{"path": "/a", "symlink": "b"}, {"path": "/a/x", "contents": "x"}]
    with pytest.raises(UserError, match="a/x: lies below a, which is a symlink"):
        _build(_found(tmp_path / "sample", files=files), store)


def test_an_image_of_somebody_else_has_no_facts(store: Store) -> None:
    image = store.put_image(ref="other", arch=Arch.ARM64, trees=[()], labels={})
    assert component_facts(image).name == ""
    assert component_facts(image).packages == ()
    assert component_config(image).command is None


@pytest.mark.parametrize("label", ["no json", "[]", '{"ports": "x"}'])
def test_a_label_that_is_malformed_is_told(store: Store, label: str) -> None:
    labels = {LABEL_COMPONENT: label, LABEL_CONFIG: label}
    image = store.put_image(ref="other", arch=Arch.ARM64, trees=[()], labels=labels)
    with pytest.raises(UserError, match=f"image other: label {LABEL_COMPONENT}"):
        component_facts(image)
    with pytest.raises(UserError, match=f"image other: label {LABEL_CONFIG}"):
        component_config(image)


# --- out of Debian's packages -------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("hello", {"usr/bin/busybox", "usr/bin/hello", "usr/bin/sh", "bin"}),
        ("dhcp", {"usr/bin/busybox", "usr/bin/dhcp", "usr/lib/dhcp/lease"}),
        ("sshd", {"usr/sbin/dropbear", "usr/lib/aarch64-linux-gnu/libc.so.6", "root/.ssh"}),
        ("getty", {"usr/bin/busybox", "usr/bin/console-getty", "host"}),
        (
            "raspi-firmware",
            {"usr/lib/raspi-firmware/start4.elf", "usr/lib/raspi-firmware/start.elf"},
        ),
        ("init", {"usr/bin/busybox", "usr/bin/crun", "init"}),
    ],
)
def test_the_built_in_components_are_made(
    store: Store, checkout: Path, name: str, wanted: set[str]
) -> None:
    image = _build(Project.find(checkout).component(name), store)
    paths = _paths(store, image)
    assert wanted <= paths
    assert not any(part in path for path in paths for part in ("perl", "systemd/", "/man/"))
    assert component_facts(image).packages


@pytest.mark.network
def test_another_suite_for_one_architecture(tmp_path: Path, store: Store, checkout: Path) -> None:
    """Packages of before the merged /usr, whose C library lies in /lib."""
    sshd = Project.find(checkout).component("sshd")
    assert sshd.definition.debian is not None
    source = sshd.definition.debian.model_copy(update={"suites": {Arch.ARM: "bookworm"}})
    changed = sshd.definition.model_copy(update={"debian": source})
    image = _build(FoundComponent(changed, sshd.folder), store, Arch.ARM)
    paths = _paths(store, image)
    assert "usr/lib/arm-linux-gnueabihf/libc.so.6" in paths
    assert {"usr/lib/ld-linux-armhf.so.3", "usr/bin/busybox", "bin", "lib"} <= paths
    assert all(path in ("bin", "lib", "sbin") or "/" in path or path == "host" for path in paths)


@pytest.mark.network
def test_names_that_do_not_exist_are_told(tmp_path: Path, store: Store) -> None:
    for debian, message, hint in (
        ({"packages": ["busybox-statix"], "files": ["/x"]}, "no such package", "busybox-static"),
        (
            {"packages": ["busybox-static"], "files": ["/usr/sbin/busybox"]},
            "/usr/sbin/busybox: no such file in busybox-static",
            "the nearest is /usr/bin/busybox",
        ),
        (
            {"packages": ["busybox-static"], "files": ["/x"], "suite": "trixy"},
            "no such suite or area",
            "trixie",
        ),
    ):
        with pytest.raises(UserError) as caught:
            _build(_found(tmp_path / "sample", debian=debian), store)
        assert caught.value.message.startswith("component sample")
        assert message in caught.value.message
        assert hint in (caught.value.hint or "")


@pytest.mark.network
def test_a_warm_look_starts_no_program_and_reads_no_package(
    store: Store, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sshd = Project.find(checkout).component("sshd")
    first = _build(sshd, store)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("this is not for a warm look")

    monkeypatch.setattr("farm.debian.archive.run", fail)
    monkeypatch.setattr(build_module, "package_tree", fail)
    monkeypatch.setattr(build_module, "collect", fail)
    assert _build(sshd, store) == first


def _build_elsewhere(checkout: Path, cache: Path, zone: str, umask: int) -> None:
    os.environ.update({"FARM_CACHE": str(cache), "TZ": zone})
    time.tzset()
    os.umask(umask)
    found = Project.find(checkout).component("sshd")
    image = _build(found, Store(), Arch.ARM64)
    (cache / f"digest-{os.getpid()}").write_text(image.digest)


def _all_built(checkout: Path, *settings: tuple[Path, str, int]) -> set[str]:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build_elsewhere, args=(checkout, *one)) for one in settings]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    digests = [path for cache, _, _ in settings for path in cache.glob("digest-*")]
    return {path.read_text() for path in digests}


@pytest.mark.network
def test_the_same_bytes_in_another_cache_zone_and_umask(tmp_path: Path, checkout: Path) -> None:
    settings = ((tmp_path / "a", "UTC", 0o022), (tmp_path / "b", "Asia/Tokyo", 0o077))
    assert len(_all_built(checkout, *settings)) == 1


@pytest.mark.network
def test_two_processes_make_the_same_component_at_once(tmp_path: Path, checkout: Path) -> None:
    cache = tmp_path / "cache"
    assert len(_all_built(checkout, (cache, "UTC", 0o022), (cache, "UTC", 0o022))) == 1
    image = Store(cache / "store").find("farm/sshd", Arch.ARM64)
    assert image is not None


def test_a_mirror_that_cannot_be_reached_names_the_component(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FARM_MIRROR", "http://mirror.invalid/debian")
    debian = {"packages": ["busybox-static"], "files": ["/usr/bin/busybox"]}
    with pytest.raises(BuildError, match=r"component sample .* cannot be reached"):
        _build(_found(tmp_path / "sample", debian=debian), store)
