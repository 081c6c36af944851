# SPDX-License-Identifier: Apache-2.0
"""apt in a root of its own, against this machine's own mirror and against none."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.core.files import sha256_file
from farm.core.progress import LineReporter, SilentReporter
from farm.debian import Archive, ArchiveSettings, StaleIndexError, archive, package_tree
from farm.debian.settings import machine_mirror

_SETTINGS = ArchiveSettings()
_SILENT = SilentReporter()


class _NoApt:
    def __call__(self, *_: object, **__: object) -> None:
        raise AssertionError("a program was started")


@pytest.fixture
def closed_port() -> Iterator[str]:
    """The address of a mirror where nobody listens: the port is bound, and takes no connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/debian"


@pytest.mark.network
def test_packages_are_resolved_fetched_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ArchiveSettings.from_environment()
    first = Archive(settings, arch=Arch.ARM64, cache=tmp_path)
    alone = first.resolve(["dropbear-bin"], dependencies=False, reporter=_SILENT)
    closure = first.resolve(["dropbear-bin"], dependencies=True, reporter=_SILENT)
    assert [package.name for package in alone] == ["dropbear-bin"]
    assert set(alone) < set(closure)
    assert "libc6" in {package.name for package in closure}
    assert {package.arch for package in closure} <= {"arm64", "all"}
    (deb,) = first.fetch(alone, LineReporter())
    assert sha256_file(deb) == alone[0].sha256
    paths = {entry.path for entry in package_tree(deb, scratch=tmp_path / "scratch")}
    assert "usr/sbin/dropbear" in paths

    # The same questions again: no program is started, nothing is fetched.
    monkeypatch.setattr(archive, "run", _NoApt())
    second = Archive(settings, arch=Arch.ARM64, cache=tmp_path)
    assert second.resolve(["dropbear-bin"], dependencies=True, reporter=_SILENT) == closure
    assert second.fetch(alone, _SILENT) == (deb,)


@pytest.mark.network
def test_a_package_that_was_damaged_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    one = Archive(ArchiveSettings.from_environment(), arch=Arch.ARM64, cache=tmp_path)
    packages, (deb,) = one.obtain(["busybox-static"], _SILENT)
    deb.write_bytes(bytes(packages[0].size))
    assert one.fetch(packages, _SILENT) == (deb,)
    assert sha256_file(deb) == packages[0].sha256


@pytest.mark.network
def test_unknown_names_are_told_with_the_nearest(tmp_path: Path) -> None:
    settings = ArchiveSettings.from_environment()
    one = Archive(settings, arch=Arch.ARM64, cache=tmp_path)
    for dependencies in (False, True):
        with pytest.raises(UserError, match="busybox-statix: no such package") as caught:
            one.resolve(["busybox-statix"], dependencies=dependencies, reporter=_SILENT)
        assert caught.value.hint == "the nearest name is busybox-static"
    # In the archive, and in another area.
    with pytest.raises(UserError, match="raspi-firmware: no such package"):
        one.resolve(["raspi-firmware"], dependencies=False, reporter=_SILENT)
    with pytest.raises(UserError, match="no such suite or area"):
        Archive(settings, arch=Arch.ARM64, suite="trixy", cache=tmp_path).refresh(_SILENT)
    with pytest.raises(UserError, match="no such suite or area"):
        areas = ("main", "nonfree")
        Archive(settings, arch=Arch.ARM64, areas=areas, cache=tmp_path).refresh(_SILENT)


@pytest.mark.network
def test_a_version_that_is_gone_is_told_as_stale(tmp_path: Path) -> None:
    one = Archive(ArchiveSettings.from_environment(), arch=Arch.ARM64, cache=tmp_path)
    (now,) = one.resolve(["busybox-static"], dependencies=False, reporter=_SILENT)
    old = dataclasses.replace(now, version="0:0.1-1", sha256="0" * 64)
    with pytest.raises(StaleIndexError, match=r"busybox-static 0:0\.1-1: no longer in the index"):
        one.fetch([old], _SILENT)


@pytest.mark.network
def test_another_file_than_the_index_says_is_refused(tmp_path: Path) -> None:
    one = Archive(ArchiveSettings.from_environment(), arch=Arch.ARM64, cache=tmp_path)
    (now,) = one.resolve(["busybox-static"], dependencies=False, reporter=_SILENT)
    with pytest.raises(StaleIndexError, match="something else than the index says"):
        one.fetch([dataclasses.replace(now, sha256="0" * 64)], _SILENT)
    assert not list(tmp_path.glob("pool/*/*.deb"))


def test_names_that_are_none_never_reach_apt(tmp_path: Path) -> None:
    one = Archive(_SETTINGS, arch=Arch.ARM64, cache=tmp_path)
    for name in ("-o", "a=b", "a/b", "A", "x y", ""):
        with pytest.raises(UserError, match="not a package's name"):
            one.resolve([name], dependencies=False, reporter=_SILENT)


def test_a_mirror_that_cannot_be_reached_is_told(tmp_path: Path, closed_port: str) -> None:
    for mirror in (closed_port, "http://mirror.invalid/debian"):
        one = Archive(ArchiveSettings(mirror), arch=Arch.ARM64, cache=tmp_path)
        with pytest.raises(BuildError, match="cannot be reached") as caught:
            one.resolve(["busybox"], dependencies=False, reporter=_SILENT)
        assert mirror in caught.value.message
        assert "FARM_MIRROR" in (caught.value.hint or "")


@pytest.fixture
def unsigned_mirror(tmp_path: Path) -> Iterator[str]:
    """A mirror on loopback with a suite that nobody has signed."""
    suite = tmp_path / "www" / "debian" / "dists" / "trixie"
    (suite / "main" / "binary-arm64").mkdir(parents=True)
    (suite / "main" / "binary-arm64" / "Packages").write_bytes(b"")
    (suite / "Release").write_text(
        "Origin: Debian\nSuite: stable\nCodename: trixie\nComponents: main\n"
        "Architectures: arm64\nDate: Sat, 01 Nov 2025 00:00:00 UTC\nSHA256:\n"
        " e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0"
        " main/binary-arm64/Packages\n"
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/debian"
        server.shutdown()
        thread.join()


def test_an_index_without_a_signature_is_refused(tmp_path: Path, unsigned_mirror: str) -> None:
    one = Archive(ArchiveSettings(unsigned_mirror), arch=Arch.ARM64, cache=tmp_path)
    with pytest.raises(BuildError, match="not signed by a key of Debian"):
        one.resolve(["busybox"], dependencies=False, reporter=_SILENT)


def test_a_machine_without_the_keyring_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_KEYRING", tmp_path / "absent.gpg")
    one = Archive(ArchiveSettings("http://mirror.example"), arch=Arch.ARM64, cache=tmp_path)
    with pytest.raises(UserError, match="absent") as caught:
        one.refresh(_SILENT)
    assert caught.value.hint == "sudo apt-get install debian-archive-keyring"


@pytest.mark.network
def test_the_machines_own_mirror_is_found() -> None:
    mirror = machine_mirror()
    assert mirror.startswith(("http://", "https://", "file://"))
    assert not mirror.endswith("/")
    assert "security" not in mirror


@pytest.mark.network
def test_an_update_fetches_the_index_once_in_a_process(tmp_path: Path) -> None:
    told = io.StringIO()
    reporter = LineReporter(told)
    fresh = dataclasses.replace(ArchiveSettings.from_environment(), update=True)
    for _ in range(2):
        one = Archive(fresh, arch=Arch.ARM64, cache=tmp_path)
        one.resolve(["busybox-static"], dependencies=False, reporter=reporter)
    assert told.getvalue().count("index of Debian") == 1
    plain = Archive(ArchiveSettings.from_environment(), arch=Arch.ARM64, cache=tmp_path)
    plain.resolve(["busybox-static"], dependencies=False, reporter=reporter)
    assert told.getvalue().count("index of Debian") == 1
