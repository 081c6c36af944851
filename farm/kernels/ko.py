# SPDX-License-Identifier: Apache-2.0
"""One kernel module's file: its compression, what its `.modinfo` says, its appended signature.

Sources: Documentation/kbuild/modules.rst (the `.modinfo` section, NAME=VALUE strings, each ended
by a zero byte) and include/linux/module_signature.h (what is appended) of the kernel.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib

from farm.core.errors import BuildError

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
MAX_MODULE_BYTES = 256 << 20
"""More than any module unpacks to; a file that goes beyond is broken or hostile."""

_SIGNATURE_MAGIC = b"~Module signature appended~\n"
_SIGNATURE_INFO = struct.Struct(">BBBBB3xI")


def module_name(path: str) -> str | None:
    """Return the module's name, as the kernel says it, or None where it is no module's file.

    A file may be called with '-' where the kernel says '_'.
    """
    base = path.rpartition("/")[2]
    for suffix in SUFFIXES:
        if base.endswith(suffix):
            return base.removesuffix(suffix).replace("-", "_")
    return None


def uncompressed(data: bytes, name: str) -> bytes:
    """Return a module's ELF file.

    Args:
        data: the file's bytes; the compression is told by `name`'s suffix.
        name: the file's name, also for errors.

    Raises:
        BuildError: it cannot be unpacked, or unpacks to more than `MAX_MODULE_BYTES`.
    """
    for suffix, unpack in ((".xz", _unpack_xz), (".zst", _unpack_zst), (".gz", _unpack_gz)):
        if name.endswith(suffix):
            plain, whole = unpack(data, name)
            if len(plain) > MAX_MODULE_BYTES:
                raise BuildError(f"{name}: unpacks to more than {MAX_MODULE_BYTES >> 20} MiB")
            if not whole:
                raise BuildError(f"{name}: cannot be unpacked: the file is cut short")
            return plain
    return data


def without_signature(elf: bytes, name: str) -> bytes:
    """Return a module without its appended signature; one that has none as it is.

    Raises:
        BuildError: the signature claims to be longer than the file.
    """
    if not elf.endswith(_SIGNATURE_MAGIC):
        return elf
    end = len(elf) - len(_SIGNATURE_MAGIC) - _SIGNATURE_INFO.size
    if end < 0:
        raise BuildError(f"{name}: the appended signature is cut short")
    _, _, _, signer, key_id, signature = _SIGNATURE_INFO.unpack_from(elf, end)
    end -= signer + key_id + signature
    if end < 0:
        raise BuildError(f"{name}: the appended signature is longer than the file")
    return elf[:end]


def modinfo(elf: bytes, name: str) -> dict[str, tuple[str, ...]]:
    """Return what `modinfo` prints: key → its values, in the file's order.

    Raises:
        BuildError: it is not an ELF file with a `.modinfo` section.
    """
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        section = ELFFile(io.BytesIO(elf)).get_section_by_name(".modinfo")
        data = section.data() if section is not None else None
    except (ELFError, ConstructError, ValueError, KeyError, OverflowError, AttributeError) as error:
        raise BuildError(f"{name}: not a kernel module: {error}") from error
    if data is None:
        raise BuildError(f"{name}: not a kernel module: it has no .modinfo section")
    found: dict[str, list[str]] = {}
    for item in data.split(b"\0"):
        key, equals, value = item.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def _unpack_xz(data: bytes, name: str) -> tuple[bytes, bool]:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        return unpacker.decompress(data, MAX_MODULE_BYTES + 1), unpacker.eof
    except (lzma.LZMAError, EOFError) as error:
        raise _cannot_unpack(name, error) from error


def _unpack_gz(data: bytes, name: str) -> tuple[bytes, bool]:
    unpacker = zlib.decompressobj(31)
    try:
        return unpacker.decompress(data, MAX_MODULE_BYTES + 1), unpacker.eof
    except zlib.error as error:
        raise _cannot_unpack(name, error) from error


def _unpack_zst(data: bytes, name: str) -> tuple[bytes, bool]:
    import zstandard

    try:
        declared = zstandard.frame_content_size(data)
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
            plain = reader.read(MAX_MODULE_BYTES + 1)
    except zstandard.ZstdError as error:
        raise _cannot_unpack(name, error) from error
    # Of a frame that is cut short the reader returns what there is, without a word.
    return plain, declared in (-1, len(plain))


def _cannot_unpack(name: str, error: Exception) -> BuildError:
    return BuildError(f"{name}: cannot be unpacked: {error}")
