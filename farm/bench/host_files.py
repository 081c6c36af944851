# SPDX-License-Identifier: Apache-2.0
"""The files of a virtual bench host: keys, sshd_config, ser2net's, the agent's settings.

Sources: sshd_config(5), ser2net.yaml(5), gensio(5).
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.bench.settings import FORMAT
from farm.core.errors import BenchError
from farm.core.files import write_text
from farm.core.run import find_program, run
from farm.spec.bench import (
    LEASE_TOKEN,
    ForwardedNetwork,
    HttpPower,
    MuxStorage,
    Rfc2217Console,
    SshHost,
    Target,
    VirtualTarget,
)
from farm.spec.board import Board

AGENT = (sys.executable, "-P", "-m", "farm.bench.agent")
"""The agent's program, as this machine runs it: -P, so that no folder of a login shadows farm."""

_PORTS = range(20000, 32000)
_OPTIONS = """\
UsePAM {pam}
StrictModes {strict}
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding local
PermitOpen 127.0.0.1:*
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitTTY no
PermitUserRC no
PrintMotd no
UseDNS no
SetEnv SHLVL=2
ClientAliveInterval 2
ClientAliveCountMax 3
MaxStartups 100:30:200
MaxSessions 50
"""


@dataclass(frozen=True)
class VirtualHostPlan:
    """A virtual bench host that is to be started.

    Args:
        name: bench and host, for messages.
        folder: the host's own folder.
        client: the folder of the client's key and known_hosts.
        socket: where its agent will listen.
        targets: its virtual targets, with their boards.
    """

    name: str
    folder: Path
    client: Path
    socket: Path
    targets: dict[str, tuple[VirtualTarget, Board]]


@dataclass(frozen=True)
class VirtualHostFiles:
    """What was written for a host.

    Args:
        settings: the agent's settings file.
        host: how the client reaches it.
        targets: its targets as an ordinary bench file has them.
        known_host: its line in known_hosts.
    """

    settings: Path
    host: SshHost
    targets: dict[str, Target]
    known_host: str


class FreePorts:
    """Hands out TCP ports of the loopback that nobody uses now.

    They lie below the range that the kernel takes for outgoing connections, so that none is
    taken by accident later. Where two benches start, each begins at its own place.
    """

    def __init__(self, start: int) -> None:
        self._next = start % len(_PORTS)

    def take(self) -> int:
        """Return a free port, each only once.

        Raises:
            BenchError: all are taken.
        """
        for _ in _PORTS:
            port = _PORTS[self._next]
            self._next = (self._next + 1) % len(_PORTS)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port
        raise BenchError("no TCP port of the loopback is free")


def write_host_files(plan: VirtualHostPlan, ports: FreePorts) -> VirtualHostFiles:
    """Write all that a virtual host needs to start.

    Raises:
        BenchError: keys cannot be made.
        MissingProgramError: sshd, ser2net or ssh-keygen is not installed.
    """
    folder = plan.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan.client.mkdir(mode=0o700, parents=True, exist_ok=True)
    host_key = _key(folder / "ssh_host_ed25519_key", plan.name)
    client_key = _key(plan.client / "id_ed25519", f"farm client {plan.name}")
    write_text(folder / "authorized_keys", _public(client_key) + "\n", mode=0o600)
    ssh_port, relay_port = ports.take(), ports.take()
    serial = {name: ports.take() for name in plan.targets}
    forwards = {
        name: {port: ports.take() for port in target.ports}
        for name, (target, _) in plan.targets.items()
    }
    write_text(folder / "sshd_config", _sshd_config(folder, host_key, ssh_port), mode=0o600)
    write_text(folder / "ser2net.yml", _ser2net(plan, serial), mode=0o600)
    settings = folder / "settings.json"
    wanted = _settings(plan, ssh_port, relay_port, serial, forwards)
    write_text(settings, json.dumps(wanted, indent=1) + "\n", mode=0o600)
    return VirtualHostFiles(
        settings=settings,
        host=SshHost(
            address="127.0.0.1",
            port=ssh_port,
            user=pwd.getpwuid(os.getuid()).pw_name,
            identity=str(client_key),
            known_hosts=str(plan.client / "known_hosts"),
            agent_socket=str(plan.socket),
            agent=AGENT,
        ),
        targets={
            name: _target(plan, name, relay_port, serial[name], forwards[name])
            for name in plan.targets
        },
        known_host=f"[127.0.0.1]:{ssh_port} {_public(host_key)}",
    )


def _target(
    plan: VirtualHostPlan, name: str, relay: int, serial: int, forwards: dict[int, int]
) -> Target:
    virtual, board = plan.targets[name]
    stand_in = board.stand_in
    has_network = stand_in is not None and stand_in.network is not None
    mux = (*AGENT, "mux", str(plan.socket), name)
    return Target(
        board=virtual.board,
        host=virtual.host,
        power=HttpPower(
            port=relay,
            on=f"/{name}/on",
            off=f"/{name}/off",
            state=f"/{name}/state",
            token=LEASE_TOKEN,
        ),
        console=Rfc2217Console(address=ser2net_address(), port=serial),
        storage=MuxStorage(
            device=str(_card(plan.folder, name)),
            to_host=(*mux, "host"),
            to_board=(*mux, "board"),
        ),
        network=ForwardedNetwork(ports=forwards) if has_network else None,
        missing=stand_in.missing if stand_in is not None else (),
        notes=virtual.notes,
    )


def _settings(
    plan: VirtualHostPlan,
    ssh_port: int,
    relay_port: int,
    serial: dict[str, int],
    forwards: dict[str, dict[int, int]],
) -> dict[str, Any]:
    folder = plan.folder
    serial_address = ser2net_address()
    return {
        "format": FORMAT,
        "name": plan.name,
        "folder": str(folder),
        "socket": str(plan.socket),
        "targets": {
            name: {
                "board": target.board,
                "console": f"rfc2217://{_in_url(serial_address)}:{serial[name]}?ign_set_control",
                "speed": 115200,
            }
            for name, (target, _) in plan.targets.items()
        },
        "virtual": {
            "relay": {"port": relay_port},
            "ssh_port": ssh_port,
            "children": [
                {
                    "name": "ser2net",
                    # In the foreground, no UUCP locks: its own pseudo terminals need none.
                    "argv": ["ser2net", "-n", "-d", "-u", "-c", str(folder / "ser2net.yml")],
                },
                {
                    "name": "sshd",
                    # sshd runs itself anew for each login: it must know its own full path.
                    "argv": [
                        find_program("sshd"),
                        *("-D", "-e", "-f", str(folder / "sshd_config")),
                    ],
                    "port": ssh_port,
                    "greeting": "SSH-2.0-",
                },
            ],
            "boards": {
                name: {
                    "board": board.model_dump(mode="json", by_alias=True),
                    "card": str(_card(folder, name)),
                    "tty": str(_tty(plan, name)),
                    "forwards": forwards[name],
                }
                for name, (_, board) in plan.targets.items()
            },
        },
    }


def _card(folder: Path, name: str) -> Path:
    return folder / "cards" / f"{name}.img"


def _tty(plan: VirtualHostPlan, name: str) -> Path:
    # In the sockets' folder: ser2net takes no comma in a path.
    return plan.socket.parent / f"tty-{name}"


def _key(path: Path, comment: str) -> Path:
    if not (path.exists() and path.with_name(f"{path.name}.pub").exists()):
        path.unlink(missing_ok=True)
        run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path],
            timeout_s=30,
            error=BenchError,
            what=f"{comment}: make a key",
        )
    return path


def _public(key: Path) -> str:
    # Without the comment: it names nobody.
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def _sshd_config(folder: Path, host_key: Path, port: int) -> str:
    return (
        f"ListenAddress 127.0.0.1\nPort {port}\n"
        f'HostKey "{host_key}"\nAuthorizedKeysFile "{folder / "authorized_keys"}"\n'
        "PidFile none\n"
        + _OPTIONS.format(
            pam="yes" if _account_is_locked() else "no",
            strict="yes" if _only_ours_can_write(folder) else "no",
        )
    )


def _ser2net(plan: VirtualHostPlan, serial: dict[str, int]) -> str:
    return "%YAML 1.1\n---\n" + "".join(
        f"connection: &port{number}\n"
        f"  accepter: telnet(rfc2217,mode=server),tcp,{ser2net_address()},{port}\n"
        f"  connector: serialdev,{_tty(plan, name)},115200n81,local\n"
        "  options:\n    max-connections: 4\n    kickolduser: false\n    mdns: false\n"
        for number, (name, port) in enumerate(serial.items())
    )


def ser2net_address() -> str:
    """Return the loopback's address that ser2net can listen at.

    It looks addresses up so that those of a protocol are not found for which the machine has
    nothing but the loopback: 127.0.0.1 on a machine in an IPv6-only network.
    """
    flags = socket.AI_ADDRCONFIG | socket.AI_PASSIVE
    try:
        socket.getaddrinfo("127.0.0.1", 1, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        return "::1"
    return "127.0.0.1"


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _account_is_locked() -> bool:
    """Whether sshd without PAM refuses this account, since its password begins with "!"."""
    name = pwd.getpwuid(os.getuid()).pw_name
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        # Neither can an sshd of this user read it: it cannot tell, and lets the account in.
        return False
    return any(line.startswith(f"{name}:!") for line in lines)


def _only_ours_can_write(folder: Path) -> bool:
    """Whether sshd's own check of the folders above authorized_keys would pass."""
    for path in (folder, *folder.parents):
        status = path.stat()
        if status.st_uid not in (0, os.getuid()) or status.st_mode & 0o022:
            return False
    return True
