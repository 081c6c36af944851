# SPDX-License-Identifier: Apache-2.0
"""The bench's description, `bench.yml`: hosts, and the targets attached to them.

Drivers are named by `driver:`; each is one class of `farm.bench` with the same keys.
"""

from __future__ import annotations

import posixpath
import shlex
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from farm.spec.component import Need
from farm.spec.model import Model, Name, Path, PlacedError

_LASTING = ("/dev/disk/by-id/", "/dev/disk/by-path/", "/dev/shm/")


class SshHost(Model):
    """A bench host that is reached by SSH."""

    kind: Literal["ssh"] = Field("ssh", description="how the host is reached")
    address: str = Field(description="its name or address for SSH")
    port: int = Field(22, ge=1, le=65535, description="of its SSH server")
    user: str | None = Field(None, description="who to log in as; else the user's own name")
    identity: str | None = Field(
        None, description="private key file; else the user's agent and defaults"
    )
    known_hosts: str | None = Field(
        None, description="else the user's known_hosts; keys are always checked"
    )
    agent_socket: str = Field("/run/farm/agent.sock", description="of the agent on that host")
    agent: tuple[str, ...] = Field(
        ("farm-agent",), min_length=1, description="command that is the agent's program there"
    )


class LoopbackHost(Model):
    """A bench host that `farm bench up` starts on this machine: sshd, ser2net, agent."""

    kind: Literal["loopback"] = Field(description="this machine, started by `farm bench up`")


Host = Annotated[SshHost | LoopbackHost, Field(discriminator="kind")]


LEASE_TOKEN = "lease:"
"""The token of a relay that knows of leases: the secret of the lease."""


class HttpPower(Model):
    """A relay switched by HTTP requests sent from the bench host's network."""

    driver: Literal["http"] = Field("http", description="which driver")
    address: str = Field("127.0.0.1", description="as the bench host reaches it")
    port: int = Field(80, ge=1, le=65535, description="of the relay")
    on: str = Field(description="path that is POSTed to switch on")
    off: str = Field(description="path that is POSTed to switch off")
    state: str = Field(description="path that answers GET with on or off")
    token: str | None = Field(
        None,
        description="sent as a bearer token; NAME_OF_VARIABLE, file:PATH, or lease: for the "
        "secret of the lease, which a virtual bench's relay wants",
    )


class Rfc2217Console(Model):
    """A serial port on the network (RFC 2217), as ser2net serves it; read by the host's agent."""

    driver: Literal["rfc2217"] = Field("rfc2217", description="which driver")
    address: str = Field("127.0.0.1", description="as the bench host reaches it")
    port: int = Field(ge=1, le=65535, description="TCP port of this serial port")
    speed: int = Field(115200, gt=0, description="bits a second")


class MuxStorage(Model):
    """An SD mux switched by a command on the bench host; the card is a device or file there."""

    driver: Literal["mux"] = Field("mux", description="which driver")
    device: str = Field(
        description="absolute path of the card while the host has it: of a block device its name "
        "in /dev/disk/by-id or by-path, else a file"
    )
    to_host: tuple[str, ...] = Field(description="command that gives the card to the host")
    to_board: tuple[str, ...] = Field(description="command that gives the card to the board")

    @model_validator(mode="after")
    def _always_the_same_card(self) -> MuxStorage:
        """/dev/sdX is whatever the kernel found in that place today: perhaps another disk."""
        path = posixpath.normpath("/" + self.device.lstrip("/"))
        if path.startswith("/dev/") and not path.startswith(_LASTING):
            find = shlex.join(["find", "-L", "/dev/disk/by-id", "-samefile", path])
            fault = (
                f"{self.device} may be another disk tomorrow: expected a name in /dev/disk/by-id "
                f"or /dev/disk/by-path (`{find}`, on the bench host, tells it)"
            )
            raise PlacedError((("device",), fault))
        return self


class DirectNetwork(Model):
    """The board has an address of its own, said on its console or here."""

    driver: Literal["direct"] = Field("direct", description="which driver")
    address: str | None = Field(None, description="of the board, as the bench host reaches it")


class ForwardedNetwork(Model):
    """The board's TCP ports are forwarded to ports of the bench host's loopback."""

    driver: Literal["forwarded"] = Field("forwarded", description="which driver")
    ports: dict[int, int] = Field(description="port of the board → port of the bench host")


Network = Annotated[DirectNetwork | ForwardedNetwork, Field(discriminator="driver")]


class Target(Model):
    """One board on the bench, and the drivers of what is attached to it."""

    board: Name = Field(description="which kind of board it is")
    host: Name = Field(description="which of the hosts it is attached to")
    power: HttpPower = Field(description="what switches it on and off")
    console: Rfc2217Console = Field(description="its serial console")
    storage: MuxStorage = Field(description="its card")
    network: Network | None = Field(None, description="how its TCP ports are reached")
    missing: tuple[Need, ...] = Field(
        (), description="what its board has and this target lacks, such as a network cable"
    )
    notes: str | None = Field(None, description="for people")


class VirtualTarget(Model):
    """A virtual board: `farm bench up` starts what it needs and fills in its drivers."""

    board: Name = Field(description="which kind of board it stands in for")
    host: Name = Field(description="a host of kind loopback")
    virtual: Literal[True] = Field(description="true: a virtual board of the host")
    ports: tuple[int, ...] = Field(
        (22, 80, 443, 8080), description="TCP ports of the board that can be reached from outside"
    )
    notes: str | None = Field(None, description="for people")


def _target_kind(value: object) -> str:
    if not isinstance(value, dict):
        return "<virtual>" if isinstance(value, VirtualTarget) else "<attached>"
    virtual = "virtual" in value or not value.keys() & {"power", "console", "storage"}
    return "<virtual>" if virtual else "<attached>"


AnyTarget = Annotated[
    Annotated[Target, Tag("<attached>")] | Annotated[VirtualTarget, Tag("<virtual>")],
    Discriminator(_target_kind),
]


class Bench(Model):
    """The lab."""

    format: Literal[1] = Field(description="the version of this file's format")
    name: Name = Field("bench", description="names the bench's state on this machine")
    hosts: dict[Name, Host] = Field(min_length=1, description="machines that have boards")
    targets: dict[Name, AnyTarget] = Field(description="boards, by a name of each one's own")

    @model_validator(mode="after")
    def _hosts_exist(self) -> Bench:
        faults: list[tuple[Path, str]] = []
        for name, target in self.targets.items():
            host = self.hosts.get(target.host)
            where = ("targets", name, "host")
            if host is None:
                known = ", ".join(self.hosts)
                faults.append((where, f"there is no host {target.host!r}; hosts: {known}"))
            elif isinstance(target, VirtualTarget) and not isinstance(host, LoopbackHost):
                faults.append((where, "a virtual board needs a host with kind: loopback"))
        if faults:
            raise PlacedError(*faults)
        return self
