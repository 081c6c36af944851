# SPDX-License-Identifier: Apache-2.0
"""The JSON of images: descriptors, indexes, manifests, configurations.

Source: https://github.com/opencontainers/image-spec, and Docker's image manifest version 2,
schema 2, which registries still serve.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from farm.core.arch import Arch
from farm.core.errors import BuildError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
INDEX = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
REF_NAME = "org.opencontainers.image.ref.name"

_LAYER_PREFIXES = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.diff.tar",
)


@dataclass(frozen=True)
class Descriptor:
    """A blob.

    Args:
        media_type: what it is.
        digest: "sha256:" and 64 hex digits.
        size: in bytes.
    """

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """The descriptor as the specification writes it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class StoredImage:
    """One image of the store, for one architecture.

    Args:
        ref: the reference that it was found by.
        digest: of its manifest.
        arch: what it runs on.
        layers: the lowest first.
        entrypoint, cmd, env, cwd, user: of its configuration; empty where it says nothing.
        labels: of its configuration.
    """

    ref: str
    digest: str
    arch: Arch
    layers: tuple[Descriptor, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What a manifest names: the configuration and the layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_index(data: bytes, *, name: str) -> list[dict[str, Any]]:
    """Return the descriptors of an image index.

    Raises:
        BuildError: it is no index.
    """
    entries = _object(data, name).get("manifests")
    if not isinstance(entries, list):
        raise _bad(name, "no list of manifests")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
            raise _bad(name, "a manifest without a digest")
        if not isinstance(entry.get("annotations", {}), dict):
            raise _bad(name, "annotations that are no mapping")
    return entries


def parse_manifest(data: bytes, *, name: str) -> Manifest:
    """Return what an image's manifest names.

    Raises:
        BuildError: it is no manifest, or has something that is no layer.
    """
    whole = _object(data, name)
    layers = whole.get("layers")
    if not isinstance(layers, list):
        raise _bad(name, "no list of layers")
    parsed = tuple(_descriptor(layer, name) for layer in layers)
    for layer in parsed:
        if not layer.media_type.startswith(_LAYER_PREFIXES):
            raise _bad(name, f"a layer of type {layer.media_type}")
    return Manifest(_descriptor(whole.get("config"), name), parsed)


def parse_config(
    data: bytes, *, ref: str, digest: str, arch: Arch, layers: Sequence[Descriptor]
) -> StoredImage:
    """Return the image that a configuration describes.

    Raises:
        BuildError: the configuration is malformed.
    """
    settings = _object(data, ref).get("config") or {}
    if not isinstance(settings, dict):
        raise _bad(ref, "a configuration that is no mapping")
    labels = settings.get("Labels") or {}
    if not isinstance(labels, dict):
        raise _bad(ref, "labels that are no mapping")
    return StoredImage(
        ref=ref,
        digest=digest,
        arch=arch,
        layers=tuple(layers),
        entrypoint=_words(settings, "Entrypoint", ref),
        cmd=_words(settings, "Cmd", ref),
        env=_words(settings, "Env", ref),
        cwd=str(settings.get("WorkingDir") or ""),
        user=str(settings.get("User") or ""),
        labels={str(key): str(value) for key, value in labels.items()},
    )


def is_for(platform: object, config: bytes | None, arch: Arch) -> bool:
    """Say whether an image runs on an architecture.

    Args:
        platform: of its descriptor in an index; None where the index does not say.
        config: its configuration, asked where `platform` does not say.
        arch: what it is to run on.
    """
    says = platform if isinstance(platform, dict) else None
    if says is None:
        says = _object(config, "image configuration") if config is not None else {}
    architecture, variant = arch.to_oci()
    if says.get("architecture") != architecture or says.get("os", "linux") != "linux":
        return False
    return variant is None or says.get("variant", variant) == variant


def image_config(
    platform: Mapping[str, str],
    layers: Sequence[Descriptor],
    *,
    created: str,
    labels: Mapping[str, str],
    settings: Mapping[str, object],
) -> dict[str, Any]:
    """Return the configuration of an image whose layers are uncompressed."""
    return {
        **platform,
        "created": created,
        "config": {**settings, "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "history": [{"created": created, "created_by": "farm"} for _ in layers],
    }


def image_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> dict[str, Any]:
    """Return the manifest of an image."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }


def _descriptor(value: object, name: str) -> Descriptor:
    if not isinstance(value, dict):
        raise _bad(name, "a descriptor that is no mapping")
    kind, digest, size = (value.get(key) for key in ("mediaType", "digest", "size"))
    if not isinstance(kind, str) or not isinstance(digest, str) or not isinstance(size, int):
        raise _bad(name, "a descriptor without mediaType, digest or size")
    return Descriptor(kind, digest, size)


def _words(settings: Mapping[str, object], key: str, name: str) -> tuple[str, ...]:
    words = settings.get(key) or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _bad(name, f"{key} is no list of strings")
    return tuple(words)


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad(name, "no JSON") from error
    if not isinstance(value, dict):
        raise _bad(name, "no JSON object")
    return value


def _bad(name: str, what: str) -> BuildError:
    return BuildError(f"{name}: not an OCI image that farm can read: {what}")
