# SPDX-License-Identifier: Apache-2.0
"""How a component's container runs: LinuxKit's image-entry keys.

Source of the keys, their meaning and defaults: LinuxKit's docs/yaml.md and the schema of its
`moby/schema.go`. The same keys stand in an assembly's entry and in a component's `config`; an
entry's value replaces the component's, except that the `.add` keys append to it.
"""

from __future__ import annotations

from pydantic import Field

from farm.spec.model import Model


class Mount(Model):
    """One mount, as in the OCI runtime specification."""

    destination: str | None = None
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()


class Device(Model):
    """A device node; `path: all` with a type means all nodes of that type."""

    path: str
    type: str = "c"
    major: int = 0
    minor: int = 0
    mode: str | None = None


class Runtime(Model):
    """What is made on the host side when the container starts."""

    mkdir: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] | None = None


class ContainerConfig(Model):
    """LinuxKit's image-entry keys; None means that the key is not given."""

    capabilities: tuple[str, ...] | None = None
    capabilities_add: tuple[str, ...] | None = Field(None, alias="capabilities.add")
    ambient: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] | None = None
    binds: tuple[str, ...] | None = None
    binds_add: tuple[str, ...] | None = Field(None, alias="binds.add")
    devices: tuple[Device, ...] | None = None
    tmpfs: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    cwd: str | None = None
    net: str | None = None
    ipc: str | None = None
    uts: str | None = None
    pid: str | None = None
    hostname: str | None = None
    readonly: bool | None = None
    maskedPaths: tuple[str, ...] | None = None
    readonlyPaths: tuple[str, ...] | None = None
    uid: int | None = None
    gid: int | None = None
    additionalGids: tuple[int, ...] | None = None
    noNewPrivileges: bool | None = None
    oomScoreAdj: int | None = None
    rootfsPropagation: str | None = None
    cgroupsPath: str | None = None
    sysctl: dict[str, str] | None = None
    rlimits: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    runtime: Runtime | None = None


class Health(Model):
    """How a service says that it is up: a command in its container that exits 0."""

    command: tuple[str, ...] = Field(min_length=1)
    timeout_s: float = Field(
        30, gt=0, le=3600, description="guest seconds until it must have exited 0"
    )
