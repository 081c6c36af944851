# SPDX-License-Identifier: Apache-2.0
"""The store: a local OCI image layout that everything is read from and written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from farm.core.arch import Arch
from farm.core.places import cache_dir
from farm.oci.tree import Tree


@dataclass(frozen=True)
class Descriptor:
    """A blob: what it is, its digest ("sha256:…"), its size in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True)
class StoredImage:
    """One image of the store, for one architecture."""

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


class Store:
    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_dir() / "store"

    def put_blob(self, data: bytes | BinaryIO, media_type: str) -> Descriptor:
        raise NotImplementedError

    def blob_path(self, digest: str) -> Path:
        raise NotImplementedError

    def read_blob(self, digest: str) -> bytes:
        raise NotImplementedError

    def put_image(
        self,
        *,
        ref: str,
        arch: Arch,
        trees: Sequence[Tree],
        labels: Mapping[str, str],
        config: Mapping[str, object] | None = None,
    ) -> StoredImage:
        raise NotImplementedError

    def find(self, ref: str, arch: Arch) -> StoredImage | None:
        raise NotImplementedError

    def tree(self, image: StoredImage) -> Tree:
        raise NotImplementedError

    def recall(self, kind: str, key: str) -> Descriptor | None:
        raise NotImplementedError

    def remember(self, kind: str, key: str, descriptor: Descriptor) -> None:
        raise NotImplementedError

    def recall_json(self, kind: str, key: str) -> Any:
        raise NotImplementedError

    def remember_json(self, kind: str, key: str, value: Any) -> None:
        raise NotImplementedError
