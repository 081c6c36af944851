# SPDX-License-Identifier: Apache-2.0
"""Reading Debian packages without dpkg: what a .deb holds, as a tree.

Source: deb(5): an ar archive of debian-binary, control.tar.* and data.tar.*.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from farm.core.errors import BuildError
from farm.core.files import replacing, sha256_file
from farm.core.places import cache_dir
from farm.oci.layer import read_layers
from farm.oci.tree import Kind, Tree, make_tree
from farm.oci.unpack import Window, compression, unpack

_MAGIC = b"!<arch>\n"
_HEADER = 60
_MAX_MEMBERS = 16
_CHUNK = 1 << 20

_MERGED = frozenset(("bin", "sbin", "lib", "lib32", "lib64", "libx32"))


def merged_path(path: str) -> str:
    """Return where a path lies once /bin, /sbin and /lib are links into /usr.

    Args:
        path: relative to the root, without '/' at either end.

    Source: https://wiki.debian.org/UsrMerge
    """
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def package_tree(deb: Path, *, scratch: Path | None = None) -> Tree:
    """Return a package's files, at their usr-merged paths.

    Args:
        deb: the package; its bytes are trusted to be those that the archive signed.
        scratch: where its data is unpacked to and left; None means farm's cache.

    Raises:
        BuildError: it is no package, damaged or hostile.
    """
    place = scratch or cache_dir() / "debian" / "unpacked"
    files = read_layers([_data(deb, place)], name=deb.name, scratch=place)
    merged = {}
    for entry in files:
        path = merged_path(entry.path)
        # A package of before the merge may have both /lib and /usr/lib.
        if path in merged and entry.kind is Kind.FOLDER:
            continue
        merged[path] = replace(entry, path=path)
    return make_tree(merged.values())


def _data(deb: Path, place: Path) -> Path:
    """Unpack the member data.tar of a package, once."""
    try:
        out = place / f"{sha256_file(deb)}.tar"
        if out.exists():
            return out
        with deb.open("rb") as file:
            offset, size, name = _find(file, deb)
            file.seek(offset)
            codec = compression(file.read(8))
            if codec is not None:
                window = io.BufferedReader(Window(file, offset, size), _CHUNK)
                return unpack(cast(BinaryIO, window), codec, out, name=f"{deb.name}: {name}")
            file.seek(offset)
            with replacing(out) as plain:
                while size and (piece := file.read(min(_CHUNK, size))):
                    plain.write(piece)
                    size -= len(piece)
    except OSError as error:
        raise BuildError(f"{deb}: cannot be read: {error.strerror}") from error
    return out


def _find(file: BinaryIO, deb: Path) -> tuple[int, int, str]:
    """Return offset, size and name of the member that holds the files."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise BuildError(f"{deb}: not a Debian package")
    total = deb.stat().st_size
    at = len(_MAGIC)
    for _ in range(_MAX_MEMBERS):
        file.seek(at)
        header = file.read(_HEADER)
        name = header[:16].rstrip(b" /").decode(errors="replace")
        digits = header[48:58].strip()
        if len(header) != _HEADER or header[58:] != b"`\n" or not digits.isdigit():
            break
        size = int(digits)
        at += _HEADER
        if at + size > total:
            raise BuildError(f"{deb}: {name} is cut off", hint="remove it, and fetch it again")
        if name.startswith("data.tar"):
            return at, size, name
        at += size + size % 2
    raise BuildError(f"{deb}: a Debian package without data.tar, or a damaged one")
