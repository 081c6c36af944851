# SPDX-License-Identifier: Apache-2.0
"""The store: a local OCI image layout that everything is read from and written to.

The folder is an image layout as other tools have it (skopeo, crane, buildah: `oci:PATH:REF`).
Each reference is an image index of its own, with one manifest an architecture. Beside the
standard's files lie farm's: `derived/` (what was made from blobs, by key) and `scratch/`
(layers that came compressed, unpacked).

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md, manifest.md,
image-index.md and config.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

from farm.core.arch import Arch
from farm.core.errors import BuildError, UserError
from farm.core.files import locked, sha256_file, write_bytes
from farm.core.places import cache_dir
from farm.core.scratch import remove_left_scratch, scratch_prefix
from farm.oci.image import (
    CONFIG,
    INDEX,
    LAYER_TAR,
    MANIFEST,
    REF_NAME,
    Descriptor,
    StoredImage,
    image_config,
    image_manifest,
    is_for,
    parse_config,
    parse_index,
    parse_manifest,
)
from farm.oci.layer import read_layers, write_layer
from farm.oci.tree import Tree, epoch

__all__ = ["Descriptor", "Store", "StoredImage"]

Derived: TypeAlias = dict[str, Any] | list[Any]
"""A small value that is kept under a key: what JSON can say."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KIND = re.compile(r"[a-z0-9][a-z0-9-]*")
_CHUNK = 1 << 20
_MAX_JSON_BYTES = 16 << 20
_NEW = ".new."


class _NewBlob:
    """Where a blob is written to: counts and hashes what goes by."""

    def __init__(self, file: IO[bytes], media_type: str) -> None:
        self._file = file
        self._media_type = media_type
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes, /) -> int:
        self._hash.update(data)
        self._size += len(data)
        return self._file.write(data)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self._media_type, f"sha256:{self._hash.hexdigest()}", self._size)


class Store:
    """An image layout on the disk; several processes may use it at once.

    Args:
        path: its folder, made when something is put there; None means farm's cache.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path if path is not None else cache_dir() / "store"
        self._verified: set[str] = set()

    # --- blobs ---

    def put_blob(self, data: bytes | BinaryIO, media_type: str) -> Descriptor:
        """Keep bytes under their digest.

        Args:
            data: the bytes, or a stream that is read to its end.
            media_type: what they are.

        Raises:
            BuildError: the disk is full or the store cannot be written.
        """
        if isinstance(data, bytes):
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            path = self._blob_place(digest)
            blob = Descriptor(media_type, digest, len(data))
            if not self._is_whole(blob):
                write_bytes(path, data)
            return blob
        with self._new_blob(media_type) as new:
            while piece := data.read(_CHUNK):
                new.write(piece)
        return new.descriptor

    def blob_path(self, digest: str) -> Path:
        """Return where a blob lies, to be read and never to be changed.

        Raises:
            BuildError: the store does not have it.
        """
        path = self._blob_place(digest)
        if not path.is_file():
            raise BuildError(
                f"{self.path}: has no blob {digest}", hint="build again what it belongs to"
            )
        return path

    def read_blob(self, digest: str) -> bytes:
        """Return a blob's bytes, whose digest has been checked.

        Raises:
            BuildError: the store does not have it, or it has been damaged.
        """
        path = self.blob_path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BuildError(f"{path}: cannot be read: {error.strerror}") from error
        self._check(path, digest, hashlib.sha256(data).hexdigest())
        return data

    # --- images ---

    def put_image(
        self,
        *,
        ref: str,
        arch: Arch,
        trees: Sequence[Tree],
        labels: Mapping[str, str],
        config: Mapping[str, object] | None = None,
    ) -> StoredImage:
        """Make an image and give it a reference; it replaces this architecture's image there.

        Args:
            ref: its name, as `farm/sshd`.
            arch: what it runs on.
            trees: its layers, the lowest first.
            labels: the labels of its configuration.
            config: other keys of the specification's `config`: Entrypoint, Cmd, Env, ….

        Raises:
            BuildError: the store cannot be written.
        """
        layers = tuple(self._put_layer(tree) for tree in trees)
        architecture, variant = arch.to_oci()
        platform = {"architecture": architecture, "os": "linux"}
        if variant:
            platform["variant"] = variant
        created = datetime.fromtimestamp(epoch(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = self._put_json(
            image_config(platform, layers, created=created, labels=labels, settings=config or {}),
            CONFIG,
        )
        manifest = self._put_json(image_manifest(about, layers), MANIFEST)
        self._name(ref, arch, {**manifest.to_json(), "platform": platform})
        return parse_config(
            self.read_blob(about.digest), ref=ref, digest=manifest.digest, arch=arch, layers=layers
        )

    def find(self, ref: str, arch: Arch) -> StoredImage | None:
        """Return the image that a reference means for an architecture, or None.

        Raises:
            BuildError: the store's files are damaged.
        """
        for entry in self._named(ref):
            digest = str(entry["digest"])
            if entry.get("platform") is not None and not is_for(entry["platform"], None, arch):
                continue
            manifest = parse_manifest(self._small(digest), name=f"{ref} in {self.path}")
            about = self._small(manifest.config.digest)
            if is_for(entry.get("platform"), about, arch):
                return parse_config(
                    about, ref=ref, digest=digest, arch=arch, layers=manifest.layers
                )
        return None

    def image(self, ref: str, digest: str, arch: Arch) -> StoredImage:
        """Return the image whose manifest has a digest.

        Args:
            ref: what to call it.
            digest: of its manifest.
            arch: what it runs on, as whoever kept the digest knows.

        Raises:
            BuildError: the store does not have all of it, or it is damaged.
        """
        manifest = parse_manifest(self._small(digest), name=f"{ref} in {self.path}")
        for layer in manifest.layers:
            self.blob_path(layer.digest)
        about = self._small(manifest.config.digest)
        return parse_config(about, ref=ref, digest=digest, arch=arch, layers=manifest.layers)

    def tree(self, image: StoredImage) -> Tree:
        """Return an image's files, all layers applied; data stays where it lies.

        Raises:
            BuildError: a layer is absent, damaged or hostile.
        """
        paths = []
        for layer in image.layers:
            path = self.blob_path(layer.digest)
            if layer.digest not in self._verified:
                self._check(path, layer.digest, sha256_file(path))
                self._verified.add(layer.digest)
            paths.append(path)
        return read_layers(paths, name=image.ref, scratch=self.path / "scratch")

    # --- derived things ---

    def recall(self, kind: str, key: str) -> Descriptor | None:
        """Return what was remembered; None where nothing was, or its blob is gone or damaged.

        What a card is made of comes from here, so the blob's digest is checked, once a store: a
        rotten disk costs that the thing is made again, and nothing else.
        """
        known = self.recall_json(kind, key)
        if not isinstance(known, dict):
            return None
        try:
            found = Descriptor(str(known["mediaType"]), str(known["digest"]), int(known["size"]))
            return found if self._is_whole(found) else None
        except (KeyError, TypeError, ValueError, BuildError):
            return None

    def remember(self, kind: str, key: str, descriptor: Descriptor) -> None:
        """Remember which blob was made from what `key` says.

        Args:
            kind: what sort of thing it is: lower-case letters, digits, '-'.
            key: everything that is in its bytes.
            descriptor: the blob.
        """
        self.remember_json(kind, key, descriptor.to_json())

    def recall_json(self, kind: str, key: str) -> Derived | None:
        """Return a small value that was remembered, or None."""
        place = self._derived(kind, key)
        try:
            kept = json.loads(place.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.get("key") != key:
            return None
        value = kept.get("value")
        return value if isinstance(value, dict | list) else None

    def remember_json(self, kind: str, key: str, value: Derived) -> None:
        """Remember a small value under everything that it was made from."""
        kept = json.dumps({"key": key, "value": value}, separators=(",", ":"), sort_keys=True)
        write_bytes(self._derived(kind, key), kept.encode())

    def tidy(self) -> None:
        """Remove blobs that were half written when their process was killed."""
        remove_left_scratch(self.path / "blobs" / "sha256", _NEW)

    # --- inside ---

    def _put_layer(self, tree: Tree) -> Descriptor:
        with self._new_blob(LAYER_TAR) as new:
            write_layer(tree, new)
        return new.descriptor

    def _put_json(self, value: object, media_type: str) -> Descriptor:
        data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        return self.put_blob(data, media_type)

    @contextlib.contextmanager
    def _new_blob(self, media_type: str) -> Iterator[_NewBlob]:
        """Write a blob whose digest is known only at its end."""
        folder = self.path / "blobs" / "sha256"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=folder, prefix=scratch_prefix(_NEW), delete=False
            ) as file:
                beside = Path(file.name)
                try:
                    new = _NewBlob(file, media_type)
                    yield new
                    path = self._blob_place(new.descriptor.digest)
                    if not self._is_whole(new.descriptor):
                        file.flush()
                        os.fchmod(file.fileno(), 0o644)
                        os.fsync(file.fileno())
                        beside.rename(path)
                finally:
                    beside.unlink(missing_ok=True)
        except OSError as error:
            raise BuildError(
                f"{folder}: cannot be written: {error.strerror or error}",
                hint="nothing was changed; free space or choose another place, and run it again",
            ) from error

    def _is_whole(self, blob: Descriptor) -> bool:
        """Whether a blob is there, with the bytes of its digest; those are read once a store."""
        path = self._blob_place(blob.digest)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != blob.size:
                return False
            if blob.digest not in self._verified:
                if f"sha256:{sha256_file(path)}" != blob.digest:
                    return False
                self._verified.add(blob.digest)
        except OSError:
            return False
        return True

    def _blob_place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise BuildError(f"{digest[:100]!r}: not a SHA-256 digest")
        return self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _derived(self, kind: str, key: str) -> Path:
        if not _KIND.fullmatch(kind):
            raise ValueError(f"not a kind of derived things: {kind!r}")
        name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        return self.path / "derived" / kind / f"{name}.json"

    def _small(self, digest: str) -> bytes:
        path = self.blob_path(digest)
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise BuildError(f"{path}: too large for a manifest or configuration")
        return self.read_blob(digest)

    def _check(self, path: Path, digest: str, found: str) -> None:
        if f"sha256:{found}" != digest:
            raise BuildError(
                f"{path}: damaged: its SHA-256 is {found}",
                hint=f"remove it and build again: rm {path}",
            )

    def _index(self) -> list[dict[str, Any]]:
        path = self.path / "index.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        return parse_index(data, name=str(path))

    def _named(self, ref: str) -> list[dict[str, Any]]:
        """Return the manifests that a reference leads to."""
        found: list[dict[str, Any]] = []
        for entry in self._index():
            if entry.get("annotations", {}).get(REF_NAME) != ref:
                continue
            if entry.get("mediaType") in INDEX:
                digest = str(entry["digest"])
                found += parse_index(self._small(digest), name=f"{ref} in {self.path}")
            else:
                found.append(entry)
        return found

    def _name(self, ref: str, arch: Arch, manifest: dict[str, Any]) -> None:
        """Let a reference lead to a manifest, beside those of other architectures."""
        with locked(self.path / ".lock"):
            others = [
                entry for entry in self._named(ref) if not is_for(entry.get("platform"), None, arch)
            ]
            manifests = sorted(
                [*others, manifest], key=lambda entry: json.dumps(entry, sort_keys=True)
            )
            inner = self._put_json(
                {"schemaVersion": 2, "mediaType": INDEX[0], "manifests": manifests}, INDEX[0]
            )
            named = {**inner.to_json(), "annotations": {REF_NAME: ref}}
            kept = [
                entry
                for entry in self._index()
                if entry.get("annotations", {}).get(REF_NAME) != ref
            ]
            if not (self.path / "oci-layout").exists():
                write_bytes(self.path / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            index = {
                "schemaVersion": 2,
                "mediaType": INDEX[0],
                "manifests": sorted(
                    [*kept, named], key=lambda entry: json.dumps(entry, sort_keys=True)
                ),
            }
            data = json.dumps(index, separators=(",", ":"), sort_keys=True).encode()
            write_bytes(self.path / "index.json", data)
