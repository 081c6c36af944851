# SPDX-License-Identifier: Apache-2.0
"""`config.json`: LinuxKit's defaults, and the runtime specification's own rules.

That crun takes it is shown in tests/guest.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.oci.runtime import CAPABILITIES, RLIMITS, runtime_config
from farm.oci.store import StoredImage
from farm.spec.container import ContainerConfig

_IMAGE = StoredImage(
    ref="conf/plain:1",
    digest="sha256:" + "0" * 64,
    arch=Arch.ARM64,
    layers=(),
    entrypoint=("/bin/plain",),
    cmd=("--serve",),
    env=("PATH=/bin",),
    cwd="/srv",
)


def _config(**keys: object) -> dict[str, Any]:
    config = ContainerConfig.model_validate(keys)
    return runtime_config("web", _IMAGE, config)


def test_defaults_are_linuxkits() -> None:
    found = _config()
    assert found["process"] == {
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/plain", "--serve"],
        "env": ["PATH=/bin"],
        "cwd": "/srv",
    }
    assert found["root"] == {"path": "rootfs"}
    assert found["linux"] == {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
    assert [mount["destination"] for mount in found["mounts"]] == [
        *("/dev", "/dev/pts", "/proc", "/sys", "/sys/fs/cgroup"),
    ]


def test_keys_replace_the_images_own() -> None:
    found = _config(command=["/a", "b"], env=["X=1"], cwd="/tmp", uid=7, gid=8, additionalGids=[9])
    assert found["process"] == {
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
        "args": ["/a", "b"],
        "env": ["X=1"],
        "cwd": "/tmp",
    }


def test_capabilities_go_into_all_sets_but_the_ambient() -> None:
    found = _config(capabilities=["CAP_NET_RAW"], ambient=["CAP_CHOWN"])["process"]["capabilities"]
    both = ["CAP_CHOWN", "CAP_NET_RAW"]
    assert found == {
        "bounding": both,
        "effective": ["CAP_NET_RAW"],
        "inheritable": both,
        "permitted": both,
        "ambient": ["CAP_CHOWN"],
    }


@pytest.mark.parametrize("word", ["all", "ALL"])
def test_all_and_no_capabilities(word: str) -> None:
    assert _config(capabilities=[word])["process"]["capabilities"]["effective"] == [*CAPABILITIES]
    assert "capabilities" not in _config(capabilities=["none"])["process"]
    assert "capabilities" not in _config(capabilities=[])["process"]


def test_namespaces() -> None:
    def kinds(**keys: str) -> list[dict[str, str]]:
        return _config(**keys)["linux"]["namespaces"][:-1]

    assert kinds(net="new", ipc="new", uts="new") == [
        *({"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "pid"}),
    ]
    assert kinds(net="none", pid="host") == [{"type": "network"}]
    assert kinds(net="/run/n", pid="root") == [{"type": "network", "path": "/run/n"}]


def test_readonly_makes_dev_and_sys_so_too() -> None:
    found = _config(readonly=True)
    assert found["root"]["readonly"]
    options = {mount["destination"]: mount["options"] for mount in found["mounts"]}
    assert [place for place, given in options.items() if "ro" in given] == [
        *("/dev", "/sys", "/sys/fs/cgroup"),
    ]


def test_mounts_by_place_the_later_kind_wins() -> None:
    found = _config(
        tmpfs=["/run", "/tmp:size=1m,mode=1777"],
        binds=["/dev:/dev", "/etc:/host:ro"],
        mounts=[
            {"type": "proc", "options": ["ro"]},
            {"source": "mqueue"},
            {"destination": "/run", "type": "tmpfs", "options": ["size=2m"]},
        ],
    )
    mounts = {mount.pop("destination"): mount for mount in found["mounts"]}
    assert list(mounts) == sorted(mounts)
    assert mounts["/dev"] == {
        "type": "bind",
        "source": "/dev",
        "options": ["rw", "rbind", "rshared"],
    }
    assert mounts["/host"]["options"] == ["ro", "rbind"]
    assert mounts["/proc"]["options"] == ["ro"]
    assert mounts["/dev/mqueue"]["type"] == "mqueue"
    assert mounts["/run"]["options"] == ["size=2m"]
    assert mounts["/tmp"]["options"] == ["size=1m", "mode=1777"]


def test_devices_are_made_and_allowed() -> None:
    found = _config(
        devices=[
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "mode": "0666"},
            {"path": "all", "type": "b"},
        ]
    )["linux"]
    assert found["devices"] == [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}
    ]
    assert found["resources"]["devices"] == [
        {"allow": True, "type": "c", "access": "rwm", "major": 1, "minor": 3},
        {"allow": True, "type": "b", "access": "rwm"},
    ]


def test_the_rest() -> None:
    found = _config(
        uts="new",
        hostname="web",
        noNewPrivileges=True,
        oomScoreAdj=0,
        rlimits=["nofile,100,unlimited", " RLIMIT_CORE , 0 , 0 "],
        sysctl={"net.ipv4.ip_forward": "1"},
        annotations={"a": "b"},
        cgroupsPath="/web",
        rootfsPropagation="shared",
        maskedPaths=["/proc/kcore"],
        readonlyPaths=["/proc/sys"],
    )
    assert found["hostname"] == "web"
    assert found["annotations"] == {"a": "b"}
    assert found["process"]["noNewPrivileges"]
    assert found["process"]["oomScoreAdj"] == 0
    assert found["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 0xFFFFFFFFFFFFFFFF},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    assert found["linux"]["sysctl"] == {"net.ipv4.ip_forward": "1"}
    assert found["linux"]["cgroupsPath"] == "/web"
    assert found["linux"]["rootfsPropagation"] == "shared"
    assert found["linux"]["maskedPaths"] == ["/proc/kcore"]
    assert found["linux"]["readonlyPaths"] == ["/proc/sys"]


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"capabilities": ["CAP_FLY"]}, "CAP_FLY"),
        ({"capabilities": ["all", "CAP_CHOWN"]}, "all"),
        ({"ambient": ["NET_RAW"]}, "ambient"),
        ({"rlimits": ["nofile,1"]}, "rlimits"),
        ({"rlimits": ["beer,1,2"]}, "RLIMIT_BEER"),
        ({"rlimits": ["nofile,-1,2"]}, "-1"),
        ({"rlimits": [f"nofile,{2**64},2"]}, "rlimits"),
        ({"binds": ["/a"]}, "binds"),
        ({"binds": ["/a:/b:ro:x"]}, "binds"),
        ({"binds": ["/a:b"]}, "absolute"),
        ({"binds": ["/a:/b/../c"]}, "absolute"),
        ({"tmpfs": ["/a:b:c"]}, "tmpfs"),
        ({"mounts": [{"destination": "/x"}]}, "no type"),
        ({"mounts": [{"type": "tmpfs"}]}, "no destination"),
        ({"devices": [{"path": "null"}]}, "absolute"),
        ({"devices": [{"path": "/dev/x", "type": "q"}]}, "type"),
        ({"devices": [{"path": "/dev/x", "mode": "9"}]}, "octal"),
        ({"net": "mine"}, "net"),
        ({"pid": "none"}, "pid"),
        ({"hostname": "web"}, "uts: new"),
        ({"command": []}, "nothing to run"),
    ],
)
def test_what_means_nothing_is_told_with_name_and_key(keys: dict[str, object], word: str) -> None:
    with pytest.raises(UserError) as caught:
        _config(**keys)
    assert caught.value.message.startswith("web: ")
    assert word in f"{caught.value.message} {caught.value.hint}"


_PLACES = st.lists(st.sampled_from(["a", "b", "dev", "run"]), min_size=1, max_size=3).map(
    lambda names: "/" + "/".join(names)
)


@given(
    capabilities=st.lists(st.sampled_from(CAPABILITIES), unique=True),
    ambient=st.lists(st.sampled_from(CAPABILITIES), unique=True),
    tmpfs=st.lists(_PLACES),
    binds=st.lists(st.tuples(_PLACES, _PLACES).map(":".join)),
    rlimits=st.lists(
        st.tuples(st.sampled_from(sorted(RLIMITS)), st.integers(0, 2**64 - 1)).map(
            lambda pair: f"{pair[0]},{pair[1]},unlimited"
        )
    ),
)
def test_what_comes_out_keeps_the_specifications_rules(**keys: list[str]) -> None:
    found = _config(**keys)
    process, mounts = found["process"], found["mounts"]
    # config.md, "process": `cwd` is absolute, `args` has one entry at least.
    assert process["cwd"].startswith("/")
    assert process["args"]
    # config-linux.md: a namespace's type stands once.
    kinds = [namespace["type"] for namespace in found["linux"]["namespaces"]]
    assert len(kinds) == len(set(kinds))
    # config.md, "mounts": destinations are absolute; a parent is mounted before its child.
    places = [mount["destination"] for mount in mounts]
    assert len(places) == len(set(places))
    for index, place in enumerate(places):
        assert place.startswith("/")
        assert not any(place.startswith(f"{later}/") for later in places[index:])
    # capabilities(7): what is effective is permitted; what is ambient is inheritable too.
    sets = {name: set(caps) for name, caps in process.get("capabilities", {}).items()}
    permitted = sets.get("permitted", set())
    assert sets.get("effective", set()) <= permitted <= sets.get("bounding", set())
    assert sets.get("ambient", set()) <= sets.get("inheritable", set()) & permitted


def test_nothing_of_it_depends_on_the_run() -> None:
    assert _config(capabilities=["all"]) == _config(capabilities=["all"])
