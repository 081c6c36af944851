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

    destination: str | None = Field(None, description="where it is seen; absolute")
    type: str | None = Field(None, description="file system, as tmpfs, or bind")
    source: str | None = Field(None, description="what is mounted")
    options: tuple[str, ...] = Field((), description="mount options, as ro or nosuid")


class Device(Model):
    """A device node; `path: all` with a type means all nodes of that type."""

    path: str = Field(description="of the node, in the container; or all")
    type: str = Field("c", description="c (character), b (block), p (fifo) or a (all)")
    major: int = Field(0, description="major number")
    minor: int = Field(0, description="minor number")
    mode: str | None = Field(None, description="permission bits as an octal number in quotes")


class Runtime(Model):
    """What is made on the host side when the container starts."""

    mkdir: tuple[str, ...] | None = Field(
        None, description="folders; relative ones are below the container's root filesystem"
    )
    mounts: tuple[Mount, ...] | None = Field(None, description="mounts of the system itself")


class ContainerConfig(Model):
    """LinuxKit's image-entry keys; None means that the key is not given."""

    capabilities: tuple[str, ...] | None = Field(
        None, description="Linux capabilities, as CAP_NET_ADMIN; or [all], or [none]"
    )
    capabilities_add: tuple[str, ...] | None = Field(
        None, alias="capabilities.add", description="appended to the component's own capabilities"
    )
    ambient: tuple[str, ...] | None = Field(
        None, description="capabilities that programs keep without being set-uid; or [all]"
    )
    mounts: tuple[Mount, ...] | None = Field(
        None, description="mounts inside the container, as in the OCI runtime specification"
    )
    binds: tuple[str, ...] | None = Field(
        None, description="SOURCE:DESTINATION[:OPTION,...] of the system, seen in the container"
    )
    binds_add: tuple[str, ...] | None = Field(
        None, alias="binds.add", description="appended to the component's own binds"
    )
    devices: tuple[Device, ...] | None = Field(
        None, description="device nodes that the container has and may use"
    )
    tmpfs: tuple[str, ...] | None = Field(
        None, description="/DESTINATION[:OPTION,...]: memory, empty at each start"
    )
    command: tuple[str, ...] | None = Field(
        None, description="what runs, in place of the image's entry point and command"
    )
    env: tuple[str, ...] | None = Field(
        None, description="NAME=value, in place of the image's environment"
    )
    cwd: str | None = Field(None, description="the folder that the command starts in")
    net: str | None = Field(
        None, description="network namespace: host (where not given), new, none, or a path"
    )
    ipc: str | None = Field(
        None, description="IPC namespace: host (where not given), new, or a path"
    )
    uts: str | None = Field(
        None, description="host name's namespace: host (where not given), new, or a path"
    )
    pid: str | None = Field(
        None, description="process namespace: new (where not given), host, or a path"
    )
    hostname: str | None = Field(None, description="the container's host name; needs uts: new")
    readonly: bool | None = Field(
        None, description="true: nothing can be written to the root filesystem"
    )
    maskedPaths: tuple[str, ...] | None = Field(
        None, description="paths that the container cannot read"
    )
    readonlyPaths: tuple[str, ...] | None = Field(
        None, description="paths that the container cannot write"
    )
    uid: int | None = Field(None, description="user id that the command runs as")
    gid: int | None = Field(None, description="group id that the command runs as")
    additionalGids: tuple[int, ...] | None = Field(
        None, description="further groups of the command"
    )
    noNewPrivileges: bool | None = Field(
        None, description="true: set-uid programs and file capabilities give nothing"
    )
    oomScoreAdj: int | None = Field(
        None, description="from -1000 to 1000: how soon it is killed when memory ends"
    )
    rootfsPropagation: str | None = Field(
        None, description="shared, slave or private: whether mounts are seen on both sides"
    )
    cgroupsPath: str | None = Field(None, description="path of the container's control group")
    sysctl: dict[str, str] | None = Field(
        None, description="kernel settings of the container's namespaces: name → text"
    )
    rlimits: tuple[str, ...] | None = Field(
        None, description="NAME,SOFT,HARD, as nofile,1024,unlimited"
    )
    annotations: dict[str, str] | None = Field(
        None, description="name → text, put into the container's configuration"
    )
    runtime: Runtime | None = Field(
        None, description="what is made outside of the container when it starts"
    )


class Health(Model):
    """How a service says that it is up: a command in its container that exits 0."""

    command: tuple[str, ...] = Field(
        min_length=1, description="run in the container; exit code 0 means that it is up"
    )
    timeout_s: float = Field(
        30, gt=0, le=3600, description="guest seconds until it must have exited 0"
    )
