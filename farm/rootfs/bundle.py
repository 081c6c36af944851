# SPDX-License-Identifier: Apache-2.0
"""Bundles: what stands beside a container's files, for the runtime and for init.

`/containers/onboot/NNN-NAME/` and `/containers/services/NAME/` hold:

    config.json   the OCI runtime configuration
    rootfs        a link to the container's files
    needs         one need a line; the container is skipped where one is absent
    prepare       shell commands that make folders and mounts before the container's first start
    health        shell words of the health command, ready to be evaluated
    health.s      its time limit in whole seconds
    run finish log/run    links to init's parts: a service's bundle is its runit folder too

Whatever a person wrote and a shell reads is quoted by `shlex`.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence

from farm.core.errors import UserError
from farm.oci.runtime import runtime_config
from farm.oci.tree import Entry, Kind, Tree, make_tree
from farm.rootfs.model import BootFacts, Container
from farm.spec.container import Health, Mount

FACTS = "etc/farm/board"
EVENTS = "run/farm/events"
"""The pipe by which init's parts tell its first process what happened."""

LOG_LIMITS = "s131072\nn3\n"
"""What svlogd keeps of each container's output: so many bytes a file, so many files."""

PARTS = "/usr/lib/farm"
"""Where init's parts are in the guest."""

_FOLDERS = ("containers", "dev", "etc/farm", "proc", "run/farm", "sys", "mnt")


def base_tree(containers: Sequence[Container], facts: BootFacts) -> Tree:
    """Return the folders that init mounts on, its pipe, and what it knows of the board."""
    lines = {
        "FARM_BOARD": facts.board,
        "FARM_NETWORK_WAIT": _hundredths(facts.network_wait_s),
        "FARM_SETTLE": _hundredths(facts.settle_s),
    }
    text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in lines.items())
    return make_tree(
        [
            *map(_folder, _FOLDERS),
            *(_text(f"run/log/{one.name}/config", LOG_LIMITS) for one in containers),
            _folder("tmp", 0o1777),
            _folder("root", 0o700),
            Entry("dev/console", Kind.CHAR, 0o600, rdev=(5, 1)),
            Entry("dev/null", Kind.CHAR, 0o666, rdev=(1, 3)),
            Entry(EVENTS, Kind.FIFO, 0o600),
            _text(FACTS, text),
        ]
    )


def bundle_tree(containers: Sequence[Container]) -> Tree:
    """Return the bundles of all containers.

    Raises:
        UserError: a container's configuration means nothing, or cannot be given to init.
    """
    return make_tree(entry for one in containers for entry in _bundle(one))


def _bundle(one: Container) -> Iterator[Entry]:
    base, where = one.bundle, f"{one.kind}: {one.name}"
    yield _folder(base)
    config = runtime_config(where, one.image, one.config, rootfs=f"/{one.files}")
    yield _text(f"{base}/config.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    yield _link(f"{base}/rootfs", f"/{one.files}")
    if one.needs:
        yield _text(f"{base}/needs", "".join(f"{need}\n" for need in one.needs))
    if commands := list(_prepare(one, where)):
        yield _text(f"{base}/prepare", "".join(f"{command}\n" for command in commands))
    if one.kind == "services":
        if one.health is not None:
            yield from _health(base, one.health, where)
        yield _link(f"{base}/run", f"{PARTS}/service-run")
        yield _link(f"{base}/finish", f"{PARTS}/service-finish")
        yield _link(f"{base}/log/run", f"{PARTS}/service-log")


def _health(base: str, health: Health, where: str) -> Iterator[Entry]:
    yield _text(f"{base}/health", _words(health.command, f"{where}: health.command") + "\n")
    yield _text(f"{base}/health.s", f"{math.ceil(health.timeout_s)}\n")


def _prepare(one: Container, where: str) -> Iterator[str]:
    """Yield the commands that fulfil `runtime:`, mounts first; relative paths are the container's.

    Source: LinuxKit's docs/yaml.md, "runtime".
    """
    runtime = one.config.runtime
    if runtime is None:
        return
    for index, mount in enumerate(runtime.mounts or ()):
        yield from _mounting(mount, one, f"{where}: runtime.mounts[{index}]")
    for path in runtime.mkdir or ():
        yield _words(("mkdir", "-p", "--", _outside(path, one)), f"{where}: runtime.mkdir")


def _mounting(mount: Mount, one: Container, where: str) -> Iterator[str]:
    if not mount.destination:
        raise UserError(f"{where}: has no destination")
    place = _outside(mount.destination, one)
    folders = [place]
    for option in mount.options:
        key, _, value = option.partition("=")
        if key in ("upperdir", "workdir"):
            folders.append(_outside(value, one))
    yield _words(("mkdir", "-p", "--", *folders), where)
    command = ["mount"]
    if mount.type:
        command += ["-t", mount.type]
    if mount.options:
        command += ["-o", ",".join(mount.options)]
    yield _words((*command, "--", mount.source or mount.type or "none", place), where)


def _outside(path: str, one: Container) -> str:
    """Return where a path of `runtime:` is in the guest."""
    return path if path.startswith("/") else f"/{one.files}/{path}"


def _words(words: Sequence[str], where: str) -> str:
    for word in words:
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in word):
            raise UserError(f"{where}: {word!r}: control characters cannot be given to init")
    return " ".join(shlex.quote(word) for word in words)


def _hundredths(seconds: float) -> str:
    """Whole hundredths of a second, which is what a shell can count with."""
    return str(max(0, round(seconds * 100)))


def _folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, Kind.FOLDER, mode)


def _link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, target=target)


def _text(path: str, text: str) -> Entry:
    return Entry(path, Kind.FILE, 0o644, data=text.encode())
