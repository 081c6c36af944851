# SPDX-License-Identifier: Apache-2.0
"""What init and the runtime promise to those who live in the guest."""

from __future__ import annotations

import pytest

from farm.oci.tree import Entry, Kind
from farm.rootfs import Codec
from farm.spec.container import Health

from .conftest import Machine, seen

pytestmark = [pytest.mark.boot, pytest.mark.network]

_OK = Health(command=("/usr/bin/busybox", "true"), timeout_s=30)
_TELL = ">/dev/kmsg echo test:"
_DEV = {"binds": ["/dev:/dev"]}


@pytest.mark.parametrize("cmdline", ["quiet", "loglevel=1", "loglevel=0"])
def test_a_quiet_console_shows_the_timeline(machine: Machine, cmdline: str) -> None:
    one = machine.container("services", "one", "exec sleep 100000", health=_OK)
    boot = machine.boot([one], until=seen("complete"), cmdline=cmdline)
    assert boot.names()[-1] == "complete"
    assert "Key type" not in boot.console


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_segments_of_each_codec_are_unpacked(machine: Machine, codec: Codec) -> None:
    boot = machine.boot(until=seen("complete"), codec=codec)
    assert boot.names() == ["start", "complete"]


def test_noise_on_the_console_breaks_no_line(machine: Machine) -> None:
    noise = """
        for i in 1 2 3 4; do
            while :; do printf 'farm/1 \\033[1mnoise\\r%s ' $i; done >/dev/console &
        done
        exec sleep 100000
    """
    containers = [
        machine.container("services", "noisy", noise, **_DEV),
        *(machine.container("services", f"s{n}", "exec sleep 100000") for n in range(8)),
    ]
    # Every line that begins as one of the timeline is checked by `boot`, except what `noisy`
    # wrote itself: it has the first word, and no line of it is one.
    boot = machine.boot(containers, until=seen("complete"), forged="farm/1 \033[1mnoise")
    assert boot.console.count("noise") > 100
    assert sum(name.startswith("service-up") for name in boot.names()) == 9


def test_the_parentless_are_reaped(machine: Machine) -> None:
    script = f"""
        i=0
        while [ $i -lt 30 ]; do (sleep 1 &) ; i=$((i + 1)); done
        sleep 10
        {_TELL} $(ps -o stat,comm | grep -c '^Z') zombies
        kill -USR2 1
        exec sleep 100000
    """
    one = machine.container("services", "parent", script, pid="host", capabilities=["all"], **_DEV)
    boot = machine.boot([one])
    assert boot.said("test") == ["0 zombies"]


def test_only_the_end_of_process_1_is_a_panic(machine: Machine) -> None:
    script = f"""
        kill -9 1 $(pidof runsvdir)
        sleep 1
        {_TELL} $(pidof svlogd | wc -w)
        echo c >/proc/sysrq-trigger
    """
    one = machine.container("services", "wild", script, pid="host", capabilities=["all"], **_DEV)
    boot = machine.boot([one])
    assert boot.said("test") == ["1"]
    assert "sysrq triggered crash" in boot.console
    assert "Attempted to kill init" not in boot.console

    ended = Entry("usr/lib/farm/main", Kind.FILE, 0o644, data=b"exit 3\n")
    boot = machine.boot(files=[ended])
    assert "Attempted to kill init! exitcode=0x00000300" in boot.console


def test_logs_are_bounded(machine: Machine) -> None:
    script = f"""
        i=0
        while [ $i -lt 20 ]; do
            head -c 100000 /dev/zero | tr '\\0' x | sed 's/.\\{{99\\}}/&\\n/g'; i=$((i + 1))
        done
        sleep 5
        {_TELL} $(du -sk /logs/loud | cut -f1)
        exec sleep 100000
    """
    binds = [*_DEV["binds"], "/run/log:/logs"]
    one = machine.container("services", "loud", script, binds=binds)
    boot = machine.boot([one], until=lambda boot: "test: " in boot.console)
    (size_kib,) = map(int, boot.said("test"))
    assert 256 <= size_kib <= 600


_REPORT = f"""
    {_TELL} caps $(grep CapEff /proc/self/status | cut -f2)
    {_TELL} bounding $(grep CapBnd /proc/self/status | cut -f2)
    {_TELL} priv $(grep NoNewPrivs /proc/self/status | cut -f2)
    {_TELL} host $(uname -n) id $(id -u):$(id -g):$(id -G) in $(pwd)
    {_TELL} env $A files $(ulimit -n) oom $(cat /proc/self/oom_score_adj)
    {_TELL} first $(tr '\\0' ' ' </proc/1/cmdline)
    {_TELL} cards $(ls /sys/class/net)
    {_TELL} forward $(cat /proc/sys/net/ipv4/ip_forward)
    {_TELL} masked $(wc -c </proc/kallsyms) $(>/proc/sys/vm/drop_caches) end
    {_TELL} tmp $(stat -f -c %T /tmp) $(ls -A /tmp | wc -l)
    {_TELL} device $(stat -c '%t:%T:%a' /dev/mine)
    >/written && {_TELL} root is writable
    >/host/written || {_TELL} bind is read-only
    {_TELL} mounts $(ls /sys/fs/cgroup | wc -l) $(ls -d /dev/pts /dev/mqueue)
"""


def test_a_container_gets_what_its_keys_say(machine: Machine) -> None:
    one = machine.container(
        "onboot",
        "all-keys",
        _REPORT,
        capabilities=["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"],
        ambient=["CAP_DAC_OVERRIDE"],
        noNewPrivileges=True,
        uts="new",
        ipc="new",
        net="new",
        hostname="mine",
        gid=5,
        additionalGids=[6, 7],
        cwd="/tmp",
        env=["A=b c", "PATH=/usr/bin"],
        rlimits=["nofile,100,200"],
        oomScoreAdj=77,
        sysctl={"net.ipv4.ip_forward": "1"},
        maskedPaths=["/proc/kallsyms"],
        readonlyPaths=["/proc/sys"],
        tmpfs=["/tmp:size=1m,mode=1777"],
        binds=["/etc:/host:ro"],
        mounts=[{"type": "mqueue"}],
        # The others are forbidden, once one is listed.
        devices=[
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "mode": "0640"},
            {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "mode": "0600"},
        ],
        annotations={"org.example": "x"},
    )
    boot = machine.boot([one], until=seen("complete"))
    report = {line.split()[0]: line.partition(" ")[2] for line in boot.said("test")}
    wanted = 1 << 12 | 1 << 21 | 1 << 1
    assert int(report["caps"], 16) == wanted
    assert int(report["bounding"], 16) == wanted
    assert report["priv"] == "1"
    assert report["host"] == "mine id 0:5:5 6 7 in /tmp"
    assert report["env"] == "b c files 100 oom 77"
    assert report["first"].rstrip() == "/usr/bin/sh /go"
    assert report["cards"] == "lo"
    assert report["forward"] == "1"
    assert report["masked"] == "0 end"
    assert report["tmp"] == "tmpfs 0"
    assert report["device"] == "1:3:640"
    assert report["root"] == "is writable"
    assert report["bind"] == "is read-only"
    assert report["mounts"].endswith("/dev/mqueue /dev/pts")


def test_defaults_keep_a_container_from_the_system(machine: Machine) -> None:
    script = f"""
        {_TELL} caps $(grep CapEff /proc/self/status | cut -f2) pid $$ host $(uname -n)
        {_TELL} mount $(mount -t tmpfs x /tmp 2>&1 | wc -l)
        >/proc/sys/kernel/hostname
        {_TELL} devices $(ls /dev | tr '\\n' ' ')
        kill -9 1 || {_TELL} alive
    """
    binds = ["/dev/kmsg:/dev/kmsg"]
    boot = machine.boot(
        [machine.container("onboot", "plain", script, binds=binds)], until=seen("complete")
    )
    said = boot.said("test")
    assert said[0] == "caps 0000000000000000 pid 1 host test"
    assert said[1] == "mount 1"
    assert not {"mem", "ttyAMA0", "vda"} & set(said[2].split())


def test_a_readonly_container_writes_nothing_but_its_tmpfs(machine: Machine) -> None:
    script = f"""
        >/written || {_TELL} read-only
        >/run/x && {_TELL} tmpfs
    """
    one, two = (
        machine.container(
            "onboot",
            name,
            script,
            index=n,
            readonly=True,
            tmpfs=["/run"],
            binds=["/dev/kmsg:/dev/kmsg"],
        )
        for n, name in enumerate(("one", "two"))
    )
    boot = machine.boot([one, two], until=seen("complete"))
    assert boot.said("test") == ["read-only", "tmpfs"] * 2


def test_what_a_container_wants_prepared_is_there_at_its_start(machine: Machine) -> None:
    overlay = {
        "type": "overlay",
        "source": "overlay",
        "destination": "over",
        "options": ["lowerdir=/etc", "upperdir=/run/up", "workdir=/run/work"],
    }
    one = machine.container(
        "onboot",
        "prepared",
        f"{_TELL} $(ls -d '/run/it is' /made) $(ls /over)",
        binds=[*_DEV["binds"], "/run:/run"],
        runtime={"mkdir": ["/run/it is", "made"], "mounts": [overlay]},
    )
    two = machine.container(
        "services",
        "cannot",
        "exec sleep 100000",
        runtime={"mounts": [{"type": "nosuch", "destination": "/run/x"}]},
    )
    boot = machine.boot([one, two], until=seen("failed"), modules=machine.modules("overlay"))
    assert boot.said("test")[0].startswith("/made /run/it is farm")
    assert boot.one("service-failed").fields == {"name": "cannot", "rc": "1", "reason": "exit"}


def test_mounts_reach_the_other_containers(machine: Machine) -> None:
    mounts = machine.container(
        "onboot",
        "mounts",
        "mount -t tmpfs shared /var/lib && >/var/lib/mark",
        capabilities=["all"],
        binds=["/var/lib:/var/lib:rshared"],
        rootfsPropagation="shared",
        runtime={"mkdir": ["/var/lib"]},
    )
    reads = machine.container(
        "services",
        "reads",
        f"{_TELL} $(ls /var/lib); exec sleep 100000",
        binds=[*_DEV["binds"], "/var/lib:/var/lib"],
    )
    boot = machine.boot([mounts, reads], until=seen("complete"))
    assert boot.said("test") == ["mark"]
