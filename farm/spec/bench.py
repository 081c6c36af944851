# SPDX-License-Identifier: Apache-2.0
"""The bench's description, `bench.yml`: hosts, and the targets attached to them.

Drivers are named by `driver:`; each is one class of `farm.bench` with the same keys.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from farm.spec.model import Model, Name, Path, PlacedError


class SshHost(Model):
    """A bench host that is reached by SSH."""

    kind: Literal["ssh"] = "ssh"
    address: str
    port: int = Field(22, ge=1, le=65535)
    user: str | None = None
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

    kind: Literal["loopback"]


Host = Annotated[SshHost | LoopbackHost, Field(discriminator="kind")]


class HttpPower(Model):
    """A relay switched by HTTP requests sent from the bench host's network."""

    driver: Literal["http"] = "http"
    address: str = Field("127.0.0.1", description="as the bench host reaches it")
    port: int = Field(80, ge=1, le=65535)
    on: str = Field(description="path that is POSTed to switch on")
    off: str = Field(description="path that is POSTed to switch off")
    state: str = Field(description="path that answers GET with on or off")
    token: str | None = Field(
        None, description="sent as a bearer token; NAME_OF_VARIABLE or file:PATH"
    )


class Rfc2217Console(Model):
    """A serial port on the network (RFC 2217), as ser2net serves it; read by the host's agent."""

    driver: Literal["rfc2217"] = "rfc2217"
    address: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    speed: int = 115200


class MuxStorage(Model):
    """An SD mux switched by a command on the bench host; the card is a device or file there."""

    driver: Literal["mux"] = "mux"
    device: str = Field(description="absolute path of the card while the host has it")
    to_host: tuple[str, ...] = Field(description="command that gives the card to the host")
    to_board: tuple[str, ...] = Field(description="command that gives the card to the board")


class DirectNetwork(Model):
    """The board has an address of its own, said on its console or here."""

    driver: Literal["direct"] = "direct"
    address: str | None = None


class ForwardedNetwork(Model):
    """The board's TCP ports are forwarded to ports of the bench host's loopback."""

    driver: Literal["forwarded"] = "forwarded"
    ports: dict[int, int] = Field(description="port of the board → port of the bench host")


Network = Annotated[DirectNetwork | ForwardedNetwork, Field(discriminator="driver")]


class Target(Model):
    """One board on the bench, and the drivers of what is attached to it."""

    board: Name
    host: Name
    power: HttpPower
    console: Rfc2217Console
    storage: MuxStorage
    network: Network | None = None
    notes: str | None = None


class VirtualTarget(Model):
    """A virtual board: `farm bench up` starts what it needs and fills in its drivers."""

    board: Name
    host: Name
    virtual: Literal[True]
    ports: tuple[int, ...] = Field(
        (22, 80, 443, 8080), description="TCP ports of the board that can be reached from outside"
    )
    notes: str | None = None


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

    format: Literal[1]
    name: Name = "bench"
    hosts: dict[Name, Host] = Field(min_length=1)
    targets: dict[Name, AnyTarget]

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
