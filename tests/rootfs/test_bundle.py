# SPDX-License-Identifier: Apache-2.0
"""Bundles, and that what a person wrote reaches the guest's shell as it was written."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.core.errors import UserError
from farm.core.run import run
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Kind
from farm.rootfs import BootFacts
from farm.rootfs.bundle import base_tree, bundle_tree
from farm.spec.container import Health

from .containers import container, small_image, texts

_WORDS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, blacklist_characters="\x7f"),
    max_size=12,
)


@pytest.fixture
def image(tmp_path: Path) -> StoredImage:
    return small_image(Store(tmp_path), "farm/small")


def test_a_service(image: StoredImage) -> None:
    health = Health(command=("/bin/ask", "it's $up"), timeout_s=2.5)
    one = container(image, "services", "web", needs=("network",), health=health)
    found = texts(bundle_tree([one]))
    base = "containers/services/web"
    assert json.loads(found.pop(f"{base}/config.json"))["process"]["args"] == ["/go"]
    assert found == {
        f"{base}/rootfs": "-> /containers/files/services-web",
        f"{base}/needs": "network\n",
        f"{base}/health": "/bin/ask 'it'\"'\"'s $up'\n",
        f"{base}/health.s": "3\n",
        f"{base}/run": "-> /usr/lib/farm/service-run",
        f"{base}/finish": "-> /usr/lib/farm/service-finish",
        f"{base}/log/run": "-> /usr/lib/farm/service-log",
    }


def test_a_step_stands_by_its_place_and_its_files_do_not(image: StoredImage) -> None:
    one = container(image, "onboot", "dhcp", index=7)
    assert one.bundle == "containers/onboot/007-dhcp"
    assert one.files == "containers/files/onboot-dhcp"
    config = json.loads(texts(bundle_tree([one]))[f"{one.bundle}/config.json"])
    assert config["root"] == {"path": "/containers/files/onboot-dhcp"}


def test_containers_that_cannot_write_share_their_files(image: StoredImage) -> None:
    one, other = (container(image, "services", name, readonly=True) for name in ("a", "b"))
    assert one.files == other.files
    assert json.loads(texts(bundle_tree([one]))[f"{one.bundle}/config.json"])["root"]["readonly"]


def test_runtime_is_prepared_mounts_first(image: StoredImage) -> None:
    overlay = {
        "type": "overlay",
        "source": "overlay",
        "destination": "etc",
        "options": ["lowerdir=/etc", "upperdir=/run/up", "workdir=/run/work"],
    }
    runtime = {"mkdir": ["/run/a b", "var/c"], "mounts": [overlay]}
    one = container(image, runtime=runtime)
    files = f"/{one.files}"
    options = "lowerdir=/etc,upperdir=/run/up,workdir=/run/work"
    assert texts(bundle_tree([one]))[f"{one.bundle}/prepare"].splitlines() == [
        f"mkdir -p -- {files}/etc /run/up /run/work",
        f"mount -t overlay -o {options} -- overlay {files}/etc",
        "mkdir -p -- '/run/a b'",
        f"mkdir -p -- {files}/var/c",
    ]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"runtime": {"mkdir": ["/a\nb"]}}, ["runtime.mkdir", "control characters"]),
        ({"runtime": {"mounts": [{"type": "tmpfs"}]}}, ["runtime.mounts[0]", "destination"]),
        ({"capabilities": ["CAP_FLY"]}, ["services: one", "CAP_FLY"]),
    ],
)
def test_what_init_cannot_be_given_is_refused(
    image: StoredImage, keys: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        bundle_tree([container(image, **keys)])
    for word in words:
        assert word in caught.value.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(command=st.lists(_WORDS, min_size=1, max_size=4))
def test_a_health_command_survives_the_guests_shell(image: StoredImage, command: list[str]) -> None:
    one = container(image, health=Health(command=tuple(command)))
    words = texts(bundle_tree([one]))[f"{one.bundle}/health"]
    script = 'read -r words; eval "set -- $words"; for word; do printf "%s\\n" "$word"; done'
    done = run(["busybox", "sh", "-c", script], input=words.encode(), timeout_s=60)
    assert done.stdout.decode().split("\n")[:-1] == command


def test_the_base(image: StoredImage) -> None:
    facts = BootFacts(board="it's", network_wait_s=1.234, settle_s=0.5)
    tree = base_tree([container(image, name="web")], facts)
    by_path = {entry.path: entry for entry in tree}
    assert by_path["run/farm/events"].kind is Kind.FIFO
    assert by_path["dev/console"].rdev == (5, 1)
    assert by_path["tmp"].mode == 0o1777
    assert texts(tree)["run/log/web/config"].startswith("s")
    assert shlex.split(texts(tree)["etc/farm/board"]) == [
        *("FARM_BOARD=it's", "FARM_NETWORK_WAIT=123", "FARM_SETTLE=50"),
    ]
