# SPDX-License-Identifier: Apache-2.0
"""Reading packages that dpkg-deb made, and such that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.core.errors import BuildError
from farm.core.run import run
from farm.debian import merged_path, package_tree
from farm.oci.tree import Kind


def _make(folder: Path, codec: str) -> Path:
    root = folder / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        "Description: a sample\n"
    )
    for path, mode in (("bin/tool", 0o4755), ("usr/bin/other", 0o755), ("lib/x/a.so", 0o644)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
        (root / path).chmod(mode)
    (root / "lib/x/b.so").symlink_to("a.so")
    for one in root.rglob("*"):
        if one.is_dir():
            one.chmod(0o755)
    deb = folder / f"sample-{codec}.deb"
    run(["dpkg-deb", "--root-owner-group", f"-Z{codec}", "--build", root, deb])
    return deb


@pytest.mark.parametrize("codec", ["xz", "zstd", "gzip", "none"])
def test_a_package_is_read_with_usr_merged(tmp_path: Path, codec: str) -> None:
    deb = _make(tmp_path, codec)
    for _ in range(2):
        tree = {entry.path: entry for entry in package_tree(deb, scratch=tmp_path / "scratch")}
        files = {path: entry.read() for path, entry in tree.items() if entry.kind is Kind.FILE}
        assert files == {
            "usr/bin/tool": b"bin/tool",
            "usr/bin/other": b"usr/bin/other",
            "usr/lib/x/a.so": b"lib/x/a.so",
        }
        assert tree["usr/bin/tool"].mode == 0o4755
        assert tree["usr/lib/x/b.so"].target == "a.so"
        assert "bin" not in tree


def test_paths_are_merged() -> None:
    assert merged_path("bin/sh") == "usr/bin/sh"
    assert merged_path("lib") == "usr/lib"
    assert merged_path("lib64/ld.so") == "usr/lib64/ld.so"
    assert merged_path("binary/sh") == "binary/sh"
    assert merged_path("usr/bin/sh") == "usr/bin/sh"


@pytest.mark.parametrize("cut", [0, 4, 30, 75, 300])
def test_a_package_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    deb = _make(tmp_path, "xz")
    deb.write_bytes(deb.read_bytes()[:cut])
    with pytest.raises(BuildError, match=r"sample-xz\.deb"):
        package_tree(deb, scratch=tmp_path / "scratch")


def test_a_package_with_damaged_data_is_refused(tmp_path: Path) -> None:
    deb = _make(tmp_path, "xz")
    data = bytearray(deb.read_bytes())
    data[-40] ^= 0xFF
    deb.write_bytes(data)
    with pytest.raises(BuildError, match=r"sample-xz\.deb: data\.tar\.xz: damaged"):
        package_tree(deb, scratch=tmp_path / "scratch")


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(BuildError, match="not a Debian package"):
        package_tree(tmp_path / "x.deb", scratch=tmp_path)
    with pytest.raises(BuildError, match="cannot be read: No such file"):
        package_tree(tmp_path / "absent.deb", scratch=tmp_path)
