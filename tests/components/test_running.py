# SPDX-License-Identifier: Apache-2.0
"""The built-in components at work, made for this machine's own architecture.

Each runs below a changed root with namespaces of its own, as its container would; what is asked
of it comes from real peers: a DHCP server, OpenSSH's client, a terminal.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.components import build_component, component_facts
from farm.core.arch import Arch
from farm.core.progress import SilentReporter
from farm.core.run import run, spawn
from farm.debian import ArchiveSettings
from farm.oci.store import Store, StoredImage
from farm.oci.tree import Kind
from farm.spec.project import Project

pytestmark = [pytest.mark.root, pytest.mark.network]

_TIMEOUT_S = 120

# A component may take the network's addresses away: before anything else, be sure that this is
# not the machine's own network.
_MOUNTS = """
set -eu
host_network=$1
shift
mount --make-rprivate /
mount -t proc p /proc
cards=$(ip -o link show | grep -c link/ether || true)
if [ "$(readlink /proc/self/ns/net)" = "$host_network" ] || [ "$cards" != 0 ]; then
    echo "not in a network of its own" >&2
    exit 8
fi
mkdir -p proc dev sys run tmp
mount -t proc p proc
mount -t sysfs s sys
mount -t tmpfs t dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/tty c 5 0
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 d dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
# Waits until a command ends with 0, for ten seconds at most.
until_0() {
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "never: $*" >&2
    exit 9
}
"""

_DHCP_SERVER = """start 198.51.100.20
end 198.51.100.20
interface v1
lease_file /run/leases
pidfile /run/udhcpd.pid
option subnet 255.255.255.0
option router 198.51.100.1
option dns 198.51.100.1 198.51.100.2
option domain test.example
"""


@pytest.fixture
def unpacked(tmp_path: Path, checkout: Path) -> Callable[[str], tuple[Path, StoredImage]]:
    """Makes a component for this machine and unpacks it into a folder."""

    def unpack(name: str) -> tuple[Path, StoredImage]:
        store = Store(tmp_path / "store")
        image = build_component(
            Project.find(checkout).component(name),
            Arch.parse(platform.machine()),
            store,
            ArchiveSettings.from_environment(),
            SilentReporter(),
        )
        root = tmp_path / name
        root.mkdir()
        for entry in store.tree(image):
            path = root / entry.path
            if entry.kind is Kind.FOLDER:
                path.mkdir()
                path.chmod(entry.mode)
            elif entry.kind is Kind.SYMLINK:
                path.symlink_to(entry.target)
            else:
                path.write_bytes(entry.read())
                path.chmod(entry.mode)
        return root, image

    return unpack


Unpacked = Callable[[str], tuple[Path, StoredImage]]


def _inside(root: Path, script: str, *words: str | Path) -> str:
    """Run a script in the component's folder, alone in its namespaces; return what it says."""
    argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c"]
    host_network = str(Path("/proc/self/ns/net").readlink())
    argv += [_MOUNTS + script, "sh", host_network]
    done = run([*argv, *words], cwd=root, timeout_s=_TIMEOUT_S)
    return done.stdout.decode()


def test_hello_serves_a_page_that_names_the_system(unpacked: Unpacked) -> None:
    root, image = unpacked("hello")
    health = component_facts(image).health
    assert health is not None
    page = _inside(
        root,
        """
        chroot . /usr/bin/hello & served=$!
        until_0 chroot . "$@"
        chroot . /usr/bin/busybox wget -q -O - http://127.0.0.1:80/
        kill $served
        """,
        *health.command,
    )
    assert f"Hello from {platform.node()}" in page
    assert platform.machine() in page


def test_dhcp_takes_a_lease(unpacked: Unpacked) -> None:
    root, _ = unpacked("dhcp")
    (root / "udhcpd.conf").write_text(_DHCP_SERVER)
    said = _inside(
        root,
        """
        mkdir -p run/resolvconf
        touch run/leases
        ip link add v0 type veth peer name v1
        # The server is what leaves for a further network; the client stays in this one.
        unshare --net sh -c '
            until ip link show dev v1 >/dev/null 2>&1; do sleep 0.1; done
            ip addr add 198.51.100.1/24 dev v1
            ip link set v1 up
            exec chroot . /usr/bin/busybox udhcpd -f /udhcpd.conf
        ' & server=$!
        own=$(readlink /proc/self/ns/net)
        until_0 sh -c "test \\$(readlink /proc/$server/ns/net) != $own"
        ip link set v1 netns $server
        rc=0
        chroot . /usr/bin/dhcp || rc=$?
        echo "rc=$rc"
        ip -4 -o addr show dev v0
        ip -4 route
        kill $server
        """,
    )
    assert "rc=0" in said
    assert "dhcp: v0 has 198.51.100.20/24, gateway 198.51.100.1" in said
    assert "inet 198.51.100.20/24 brd 198.51.100.255 scope global v0" in said
    assert "default via 198.51.100.1 dev v0" in said
    assert (root / "run/resolvconf/resolv.conf").read_text() == (
        "search test.example\nnameserver 198.51.100.1\nnameserver 198.51.100.2\n"
    )


def test_dhcp_without_a_network_card_fails(unpacked: Unpacked) -> None:
    root, _ = unpacked("dhcp")
    said = _inside(root, "chroot . /usr/bin/dhcp 2>&1 || echo rc=$?")
    assert said == "dhcp: there is no network card\nrc=1\n"


@pytest.mark.long
def test_dhcp_without_an_answer_fails(unpacked: Unpacked) -> None:
    root, _ = unpacked("dhcp")
    said = _inside(
        root,
        """
        ip link add v0 type veth peer name v1
        ip link set v1 up
        chroot . /usr/bin/dhcp 2>&1 || echo rc=$?
        """,
    )
    assert said.endswith("rc=1\n")
    assert "dhcp: no lease came for: v0" in said or "dhcp: no lease came for: v1" in said


def test_sshd_lets_in_the_key_and_nothing_else(unpacked: Unpacked, tmp_path: Path) -> None:
    root, image = unpacked("sshd")
    health = component_facts(image).health
    assert health is not None
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"])
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"])
    host = tmp_path / "host"
    (host / "root" / ".ssh").mkdir(parents=True, mode=0o700)
    for folder in (host / "root", host / "root" / ".ssh"):
        folder.chmod(0o700)
    shutil.copy(tmp_path / "key.pub", host / "root" / ".ssh" / "authorized_keys")
    (host / "marker").write_text("the host's root")
    # /host leads to the root of process 1, which is the test's: here it is a folder.
    (root / "host").unlink()
    (root / "host").symlink_to("/proc/self/root/hostroot")
    said = _inside(
        root,
        """
        host=$1 keys=$2
        shift 2
        mkdir -p etc/dropbear hostroot
        mount --bind "$host" hostroot
        chroot . /usr/bin/sshd >log 2>&1 & served=$!
        until_0 chroot . "$@"
        try() {
            ssh -F none -o UserKnownHostsFile="$keys/known" -o IdentitiesOnly=yes "$@"
        }
        try -o StrictHostKeyChecking=accept-new -i "$keys/key" root@127.0.0.1 \\
            'id -u; cat /host/marker; uname -s'
        # A client whose input stays open: dropbear hangs up a terminal whose input has ended.
        mkfifo run/quiet
        exec 9<>run/quiet
        try -tt -i "$keys/key" root@127.0.0.1 'test -t 0 && tty' <run/quiet
        try -i "$keys/stranger" -o BatchMode=yes root@127.0.0.1 true || echo stranger=$?
        try -i /absent -o PreferredAuthentications=password,keyboard-interactive \\
            -o NumberOfPasswordPrompts=0 root@127.0.0.1 true 2>&1 || echo password=$?
        ssh-keygen -l -f "$keys/known"
        kill $served
        cat log
        ls etc/dropbear
        """,
        host,
        tmp_path,
        *health.command,
    )
    assert "0\nthe host's rootLinux" in said
    assert "/dev/pts/0" in said
    assert "stranger=255" in said
    assert "Permission denied (publickey).\r\npassword=255" in said
    fingerprint = next(word for word in said.split() if word.startswith("SHA256:"))
    assert f"sshd: host key {fingerprint}" in said
    assert "dropbear_ed25519_host_key\n" in said
    assert "host_key.new" not in said


def test_sshd_without_a_key_starts_and_says_so(unpacked: Unpacked) -> None:
    root, _ = unpacked("sshd")
    (root / "host").unlink()
    said = _inside(
        root,
        """
        mkdir -p etc/dropbear
        chroot . /usr/bin/sshd >log 2>&1 & served=$!
        until_0 grep -q 'Not backgrounding' log
        kill $served
        cat log
        """,
    )
    assert "authorized_keys is absent or empty: nobody can log in" in said


def test_getty_gives_a_shell_on_its_terminal(unpacked: Unpacked) -> None:
    root, _ = unpacked("getty")
    ours, theirs = os.openpty()
    terminal = os.ttyname(theirs).removeprefix("/dev/")
    script = "set -eu; mount --make-rprivate /; mkdir -p dev proc sys; mount --rbind /dev dev;"
    script += "mount -t proc p proc; mount -t sysfs s sys; exec chroot . /usr/bin/console-getty"
    argv = ["unshare", "--mount", "sh", "-c", script]
    process = spawn(
        argv, cwd=root, env={"GETTY_TTY": terminal}, new_session=True, die_with_parent=True
    )
    try:
        said = b""
        # The shell's prompt, then what a command says; the sum is not in the command.
        for answer, text in ((b"# ", b"echo $((40 + 2))-$(id -u)\r"), (b"42-0", b"exit\r")):
            while answer not in said:
                said += os.read(ours, 1000)
            os.write(ours, text)
        assert process.wait(_TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)
