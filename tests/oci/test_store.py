# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from farm.core.arch import Arch
from farm.core.errors import BuildError
from farm.core.run import run
from farm.oci.store import Descriptor, Store
from farm.oci.tree import Entry, Kind, Tree, make_tree


def _tree(data: bytes = b"data") -> Tree:
    return make_tree(
        [
            Entry("usr/bin/x", Kind.FILE, 0o755, data=data),
            Entry("bin", Kind.SYMLINK, 0o777, target="usr/bin"),
        ]
    )


def _put(store: Store, ref: str = "farm/x", arch: Arch = Arch.ARM64, data: bytes = b"data") -> str:
    labels = {"made.by": "test"}
    return store.put_image(ref=ref, arch=arch, trees=[_tree(data)], labels=labels).digest


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_blobs_are_kept_by_content(tmp_path: Path) -> None:
    store = Store(tmp_path)
    whole = store.put_blob(b"data", "text/plain")
    assert whole == Descriptor("text/plain", _digest(b"data"), 4)
    assert store.put_blob(io.BytesIO(b"data"), "text/plain") == whole
    assert store.read_blob(whole.digest) == b"data"
    assert [path.name for path in store.blob_path(whole.digest).parent.iterdir()] == [
        whole.digest.removeprefix("sha256:")
    ]


def test_a_damaged_blob_is_told_and_mended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blob = store.put_blob(b"data", "text/plain")
    store.blob_path(blob.digest).write_bytes(b"date")
    with pytest.raises(BuildError, match="damaged") as caught:
        store.read_blob(blob.digest)
    assert str(store.blob_path(blob.digest)) in (caught.value.hint or "")
    # One that was cut off is seen by its size, and written anew.
    store.blob_path(blob.digest).write_bytes(b"da")
    store.put_blob(b"data", "text/plain")
    assert store.read_blob(blob.digest) == b"data"


@pytest.mark.parametrize("digest", ["", "sha256:..", "sha256:" + "A" * 64, "md5:" + "0" * 32])
def test_only_digests_name_blobs(tmp_path: Path, digest: str) -> None:
    with pytest.raises(BuildError, match="not a SHA-256 digest"):
        Store(tmp_path).blob_path(digest)


def test_an_absent_blob_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="has no blob"):
        Store(tmp_path).read_blob(_digest(b"absent"))


def test_an_image_is_found_for_its_architecture(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = store.put_image(
        ref="farm/x",
        arch=Arch.ARM64,
        trees=[_tree(b"low"), make_tree([Entry("usr/bin/x", Kind.FILE, 0o755, data=b"high")])],
        labels={"a": "b"},
        config={"Entrypoint": ["/x"], "Cmd": ["-v"], "Env": ["A=1"], "WorkingDir": "/w"},
    )
    other = _put(store, arch=Arch.ARM)
    again = Store(tmp_path)
    assert again.find("farm/x", Arch.ARM64) == image
    assert again.image("farm/x", image.digest, Arch.ARM64) == image
    assert (image.entrypoint, image.cmd, image.env, image.cwd) == (("/x",), ("-v",), ("A=1",), "/w")
    assert image.labels == {"a": "b"}
    assert len(image.layers) == 2
    found = again.find("farm/x", Arch.ARM)
    assert found is not None
    assert found.digest == other
    assert again.find("farm/x", Arch.X86_64) is None
    assert again.find("farm/y", Arch.ARM64) is None
    files = {entry.path: entry.read() for entry in again.tree(image) if entry.kind is Kind.FILE}
    assert files == {"usr/bin/x": b"high"}


def test_a_newer_image_takes_the_reference(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _put(store, data=b"old")
    other = _put(store, ref="farm/y")
    newer = _put(store, data=b"new")
    found = [store.find(ref, Arch.ARM64) for ref in ("farm/x", "farm/y")]
    assert [image.digest for image in found if image] == [newer, other]


def test_the_same_image_has_the_same_digest(tmp_path: Path) -> None:
    assert _put(Store(tmp_path / "a")) == _put(Store(tmp_path / "b"))


def test_a_damaged_layer_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _put(store)
    image = store.find("farm/x", Arch.ARM64)
    assert image is not None
    path = store.blob_path(image.layers[0].digest)
    path.write_bytes(path.read_bytes().replace(b"data", b"date"))
    with pytest.raises(BuildError, match="damaged"):
        store.tree(image)


def test_derived_things_are_recalled_while_their_blob_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blob = store.put_blob(b"segment", "application/zstd")
    store.remember("segment", "image at /x, level 3", blob)
    assert Store(tmp_path).recall("segment", "image at /x, level 3") == blob
    assert store.recall("segment", "image at /x, level 4") is None
    assert store.recall("other", "image at /x, level 3") is None
    store.blob_path(blob.digest).unlink()
    assert store.recall("segment", "image at /x, level 3") is None


def test_a_rotten_blob_is_not_recalled_and_is_replaced(tmp_path: Path) -> None:
    data = b"segment" * 1000
    kept = Store(tmp_path).put_blob(data, "application/x-segment")
    Store(tmp_path).remember("segment", "key", kept)
    path = Store(tmp_path).blob_path(kept.digest)
    path.write_bytes(b"S" + data[1:])  # of the same size
    for new in (data, io.BytesIO(data)):
        path.write_bytes(b"S" + data[1:])
        store = Store(tmp_path)
        assert store.recall("segment", "key") is None
        assert store.put_blob(new, "application/x-segment") == kept
        assert store.recall("segment", "key") == kept
        assert store.read_blob(kept.digest) == data


def test_small_values_are_recalled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember_json("modules", "kernel", {"a": ["b"]})
    assert store.recall_json("modules", "kernel") == {"a": ["b"]}
    store.remember_json("modules", "kernel", ["c"])
    assert store.recall_json("modules", "kernel") == ["c"]
    (path,) = (tmp_path / "derived" / "modules").iterdir()
    path.write_bytes(b"{damaged")
    assert store.recall_json("modules", "kernel") is None
    with pytest.raises(ValueError, match="not a kind"):
        store.recall_json("../out", "key")


def test_an_index_that_is_none_is_told(tmp_path: Path) -> None:
    for text in (b"[]", b"{}", b"no json", b'{"manifests": [{}]}', b"[" * 100_000):
        (tmp_path / "index.json").write_bytes(text)
        with pytest.raises(BuildError, match="not an OCI image that farm can read"):
            Store(tmp_path).find("farm/x", Arch.ARM64)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": None},
        {"layers": ["x"]},
        {"layers": [{"mediaType": "text/plain", "digest": "d", "size": 1}]},
        {"config": {}},
    ],
)
def test_a_manifest_that_is_none_is_told(tmp_path: Path, change: dict[str, object]) -> None:
    store = Store(tmp_path)
    manifest = json.loads(store.read_blob(_put(store)))
    blob = store.put_blob(json.dumps(manifest | change).encode(), "manifest")
    with pytest.raises(BuildError, match="not an OCI image that farm can read"):
        store.image("farm/x", blob.digest, Arch.ARM64)


def _put_many(folder: Path, first: int) -> None:
    store = Store(folder)
    for number in range(first, first + 8):
        _put(store, ref=f"farm/{number}", data=b"%d" % number)
        _put(store, ref="farm/shared", arch=Arch.ARM64 if first else Arch.ARM)


def test_processes_share_a_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_put_many, args=(tmp_path, first)) for first in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    store = Store(tmp_path)
    for number in (*range(8), *range(100, 108)):
        assert store.find(f"farm/{number}", Arch.ARM64) is not None
    assert store.find("farm/shared", Arch.ARM64) is not None
    assert store.find("farm/shared", Arch.ARM) is not None


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_and_writes_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    arm64 = _put(store, data=b"for arm64")
    _put(store, arch=Arch.ARM, data=b"for arm")
    override = ["--override-os", "linux", "--override-arch", "arm64"]
    told = run(["skopeo", *override, "inspect", f"oci:{store.path}:farm/x"])
    described = json.loads(told.stdout)
    assert (described["Architecture"], described["Labels"]) == ("arm64", {"made.by": "test"})
    # Through Docker's format and compression, and back beside the first.
    there = f"dir:{tmp_path / 'docker'}"
    policy = ["--insecure-policy", *override]
    run(["skopeo", *policy, "copy", "-f", "v2s2", f"oci:{store.path}:farm/x", there])
    run(["skopeo", *policy, "copy", "--dest-compress", there, f"oci:{store.path}:other"])
    image = store.find("other", Arch.ARM64)
    assert image is not None
    assert image.digest != arm64
    files = {entry.path: entry.read() for entry in store.tree(image) if entry.kind is Kind.FILE}
    assert files == {"usr/bin/x": b"for arm64"}
