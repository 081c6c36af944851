# SPDX-License-Identifier: Apache-2.0
"""The OCI runtime configuration (`config.json`) of a container, with LinuxKit's defaults.

Source: https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config.md and config-linux.md;
meaning of the keys and their defaults: LinuxKit's docs/yaml.md.

What LinuxKit makes of the same keys, this module makes of them; the one difference is a device
without a mode, which LinuxKit refuses and which here gets the runtime's own default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from farm.core.errors import UserError
from farm.oci.image import StoredImage
from farm.spec.container import ContainerConfig, Device, Mount

VERSION = "1.2.1"
"""The runtime specification's version that the configuration says of itself."""

# In the kernel's order: include/uapi/linux/capability.h.
_CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_RLIMITS = """
    CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO
    RTTIME
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
RLIMITS = frozenset(f"RLIMIT_{name}" for name in _RLIMITS.split())

_HOST = ("host", "root")
_UNLIMITED = 0xFFFFFFFFFFFFFFFF
_PLACES = {
    "proc": "/proc",
    "devpts": "/dev/pts",
    "sysfs": "/sys",
    "cgroup": "/sys/fs/cgroup",
    "mqueue": "/dev/mqueue",
}


def runtime_config(
    name: str, image: StoredImage, config: ContainerConfig, *, rootfs: str = "rootfs"
) -> dict[str, Any]:
    """Return what stands in a container's `config.json`.

    Args:
        name: the container's, for messages.
        image: gives command, environment and working folder where `config` does not.
        config: the image-entry keys, merged from assembly and component.
        rootfs: where the container's files are: absolute, or relative to the bundle.

    Raises:
        UserError: a key's value means nothing; the message names the container and the key.
    """
    try:
        args = _command(image, config)
        readonly = bool(config.readonly)
        devices = config.devices or ()
        process: dict[str, Any] = {
            "terminal": False,
            "user": _user(config),
            "args": args,
            "env": list(image.env if config.env is None else config.env),
            "cwd": config.cwd or image.cwd or "/",
            "capabilities": _capabilities(config),
            "rlimits": [_rlimit(text) for text in config.rlimits or ()],
            "noNewPrivileges": bool(config.noNewPrivileges),
        }
        if config.oomScoreAdj is not None:
            process["oomScoreAdj"] = config.oomScoreAdj
        linux: dict[str, Any] = {
            "namespaces": _namespaces(config),
            "devices": [_device(device) for device in devices if device.path != "all"],
            "resources": {"devices": [_device_rule(device) for device in devices]},
            "sysctl": dict(config.sysctl or {}),
            "cgroupsPath": config.cgroupsPath or "",
            "rootfsPropagation": config.rootfsPropagation or "",
            "maskedPaths": list(config.maskedPaths or ()),
            "readonlyPaths": list(config.readonlyPaths or ()),
        }
        whole = {
            "ociVersion": VERSION,
            "process": process,
            "root": {"path": rootfs, "readonly": readonly},
            "hostname": config.hostname or "",
            "mounts": _mounts(config, readonly=readonly),
            "annotations": dict(config.annotations or {}),
            "linux": linux,
        }
    except _KeyError as error:
        raise UserError(f"{name}: {error.message}", hint=error.hint) from error
    return _without_empty(whole)


class _KeyError(UserError):
    """A key's value means nothing; the container is not known yet."""


def _command(image: StoredImage, config: ContainerConfig) -> list[str]:
    args = [*image.entrypoint, *image.cmd] if config.command is None else [*config.command]
    if not args:
        raise _KeyError(
            "command: nothing to run, neither here nor in the image",
            hint="give `command:` in the assembly or in the component's configuration",
        )
    return args


def _user(config: ContainerConfig) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": config.uid or 0, "gid": config.gid or 0}
    if config.additionalGids:
        user["additionalGids"] = list(config.additionalGids)
    return user


def _capabilities(config: ContainerConfig) -> dict[str, list[str]]:
    given = config.capabilities
    if given is None:
        given = config.capabilities_add or ()
    effective = _capability_list("capabilities", given)
    ambient = _capability_list("ambient", config.ambient or ())
    most = sorted({*effective, *ambient})
    return {
        "bounding": most,
        "effective": effective,
        "inheritable": most,
        "permitted": most,
        "ambient": ambient,
    }


def _capability_list(key: str, given: Sequence[str]) -> list[str]:
    if len(given) == 1 and given[0].lower() in ("all", "none"):
        return list(CAPABILITIES) if given[0].lower() == "all" else []
    for capability in given:
        if capability not in CAPABILITIES:
            raise _KeyError(
                f"{key}: there is no capability {capability!r}",
                hint="they are written CAP_NET_ADMIN and the like; or a single `all` or `none`",
            )
    return list(dict.fromkeys(given))


def _rlimit(text: str) -> dict[str, Any]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        raise _KeyError(f"rlimits: {text!r}: not of the form NAME,SOFT,HARD")
    kind = parts[0].upper()
    kind = kind if kind.startswith("RLIMIT_") else f"RLIMIT_{kind}"
    if kind not in RLIMITS:
        raise _KeyError(f"rlimits: {text!r}: there is no limit {kind}")
    soft, hard = (_limit(text, part) for part in parts[1:])
    return {"type": kind, "soft": soft, "hard": hard}


def _limit(text: str, part: str) -> int:
    if part.lower() == "unlimited":
        return _UNLIMITED
    if not (part.isascii() and part.isdigit()) or int(part) > _UNLIMITED:
        raise _KeyError(f"rlimits: {text!r}: {part!r} is neither a number nor `unlimited`")
    return int(part)


def _namespaces(config: ContainerConfig) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    wishes = (
        ("network", config.net or "host", ("new", "none")),
        ("ipc", config.ipc or "host", ("new",)),
        ("uts", config.uts or "host", ("new",)),
        ("pid", config.pid or "new", ("new",)),
    )
    for kind, wish, new in wishes:
        if wish in _HOST:
            continue
        if wish in new:
            found.append({"type": kind})
        elif wish.startswith("/"):
            found.append({"type": kind, "path": wish})
        else:
            key = "net" if kind == "network" else kind
            raise _KeyError(
                f"{key}: {wish!r} is no namespace",
                hint=f"host, {', '.join(new)}, or the absolute path of one",
            )
    if config.hostname and not any(namespace["type"] == "uts" for namespace in found):
        raise _KeyError("hostname: needs a namespace of its own", hint="add `uts: new`")
    found.append({"type": "mount"})
    return found


def _device(device: Device) -> dict[str, Any]:
    if not device.path.startswith("/"):
        raise _KeyError(f"devices: {device.path!r}: not an absolute path")
    found: dict[str, Any] = {
        "path": device.path,
        "type": _device_type(device),
        "major": device.major,
        "minor": device.minor,
    }
    if device.mode is not None:
        try:
            found["fileMode"] = int(device.mode, 8)
        except ValueError:
            raise _KeyError(f"devices: {device.path}: mode {device.mode!r} is not octal") from None
    return found


def _device_rule(device: Device) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": _device_type(device), "access": "rwm"}
    if device.path != "all":
        rule |= {"major": device.major, "minor": device.minor}
    return rule


def _device_type(device: Device) -> str:
    kinds = ("c", "b", "u", "p", "a") if device.path == "all" else ("c", "b", "u", "p")
    if device.type not in kinds:
        raise _KeyError(f"devices: {device.path}: type {device.type!r} is none of {kinds}")
    return device.type


def _mounts(config: ContainerConfig, *, readonly: bool) -> list[dict[str, Any]]:
    """Return the mounts by destination: the defaults, then tmpfs, binds and mounts over them."""
    ro = ["ro"] if readonly else []
    by_place: dict[str, dict[str, Any]] = {}

    def put(place: str, kind: str, source: str, options: Iterable[str]) -> None:
        if not place.startswith("/") or ".." in place.split("/"):
            raise _KeyError(f"mounts: the destination {place!r} is not an absolute path")
        by_place[place] = {
            "destination": place,
            "type": kind,
            "source": source,
            "options": list(options),
        }

    put("/proc", "proc", "proc", ["nosuid", "nodev", "noexec", "relatime"])
    put("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k", *ro])
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    put("/dev/pts", "devpts", "devpts", pts)
    put("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", *ro])
    cgroup = ["nosuid", "noexec", "nodev", "relatime", "ro"]
    put("/sys/fs/cgroup", "cgroup", "cgroup", cgroup)
    for text in config.tmpfs or ():
        place, colon, options = text.partition(":")
        if ":" in options:
            raise _KeyError(f"tmpfs: {text!r}: not of the form /PLACE[:OPTION,OPTION]")
        put(place, "tmpfs", "tmpfs", options.split(",") if colon else ())
    for text in (config.binds_add if config.binds is None else config.binds) or ():
        put(*_bind(text))
    for mount in config.mounts or ():
        put(*_mount(mount))
    return [by_place[place] for place in sorted(by_place)]


def _bind(text: str) -> tuple[str, str, str, list[str]]:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise _KeyError(f"binds: {text!r}: not of the form SOURCE:PLACE[:OPTION,OPTION]")
    options = [*parts[2].split(","), "rbind"] if len(parts) == 3 else ["rw", "rbind", "rshared"]
    return parts[1], "bind", parts[0], options


def _mount(mount: Mount) -> tuple[str, str, str, tuple[str, ...]]:
    kind = mount.type
    if not kind and mount.source in _PLACES:
        kind = mount.source
    if not kind and mount.destination == "/dev":
        kind = "tmpfs"
    if not kind:
        raise _KeyError(f"mounts: the mount at {mount.destination} has no type")
    place = mount.destination or _PLACES.get(kind)
    if not place:
        raise _KeyError(f"mounts: a mount of type {kind} has no destination")
    return place, kind, mount.source or kind, mount.options


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """Return the mapping without what says nothing, as the specification leaves it out."""
    kept: dict[str, Any] = {}
    for key, inner in value.items():
        found = _without_empty(inner) if isinstance(inner, dict) else inner
        if found not in ("", [], {}) and found is not False:
            kept[key] = found
    return kept
