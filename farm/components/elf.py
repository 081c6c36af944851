# SPDX-License-Identifier: Apache-2.0
"""What a program or shared library needs of others before it can run.

Source: the ELF gABI, chapter 5 (dynamic linking), and ld.so(8).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.core.errors import BuildError
from farm.oci.tree import Entry, Kind, Slice

if TYPE_CHECKING:
    from elftools.elf.dynamic import DynamicSegment

_MAGIC = b"\x7fELF"
# Dynamic tags whose value is a string, and what pyelftools calls it.
_STRINGS = {"DT_NEEDED": "needed", "DT_RUNPATH": "runpath", "DT_RPATH": "rpath"}


@dataclass(frozen=True)
class Needs:
    """What an ELF file needs.

    Args:
        interpreter: absolute path of its dynamic linker, or None.
        libraries: names of shared libraries, in the file's order.
        folders: where it has them looked for first; `$ORIGIN` stands for its own folder.
    """

    interpreter: str | None
    libraries: tuple[str, ...]
    folders: tuple[str, ...]


def elf_needs(entry: Entry) -> Needs | None:
    """Return what a file needs, or None where it is no program and no shared library.

    Raises:
        BuildError: it claims to be one, and is damaged.
    """
    if entry.kind is not Kind.FILE or _head(entry) != _MAGIC:
        return None
    # Loaded here: a build that finds everything in the store never needs it.
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    try:
        elf = ELFFile(io.BytesIO(entry.read()))
        if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
            return None
        interpreter = None
        libraries: list[str] = []
        folders: list[str] = []
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                interpreter = segment.get_interp_name()
            if isinstance(segment, DynamicSegment):
                for tag, value in _tags(segment):
                    if tag == "DT_NEEDED":
                        libraries.append(value)
                    else:
                        folders.extend(filter(None, value.split(":")))
    except (ELFError, UnicodeDecodeError, KeyError, ValueError, IndexError) as error:
        raise BuildError(f"{entry.path}: a damaged ELF file: {error}") from error
    return Needs(interpreter, tuple(libraries), tuple(folders))


def _tags(segment: DynamicSegment) -> Iterator[tuple[str, str]]:
    for tag in segment.iter_tags():
        kind = tag.entry.d_tag
        if kind in _STRINGS:
            yield kind, getattr(tag, _STRINGS[kind])


def _head(entry: Entry) -> bytes:
    data = entry.data
    if isinstance(data, bytes):
        return data[:4]
    return Slice(data.path, data.offset, min(4, data.size)).read()
