# SPDX-License-Identifier: Apache-2.0
"""Joining an assembly's entry with its component's own configuration, as LinuxKit does.

Source of the precedence: LinuxKit's `moby/config.go`, `ConfigInspectToOCI`: per key, the entry's
value replaces the component's, whole. `capabilities.add` and `binds.add` append to the component's
list and are without effect where the entry has `capabilities` or `binds`. `runtime` is joined
key by key.
"""

from __future__ import annotations

from farm.spec.container import ContainerConfig, Runtime

_ADDED = {"capabilities_add": "capabilities", "binds_add": "binds"}


def merged_config(entry: ContainerConfig, component: ContainerConfig) -> ContainerConfig:
    """Return the configuration that a container runs with.

    Args:
        entry: the keys of the assembly's entry.
        component: the keys of the component's `config` (the image's label).

    Returns:
        A configuration without `.add` keys: they are in the lists that they add to.
    """
    values: dict[str, object] = {}
    for name in ContainerConfig.model_fields:
        if name in _ADDED:
            continue
        own, base = getattr(entry, name), getattr(component, name)
        if isinstance(own, Runtime) and isinstance(base, Runtime):
            values[name] = _merged_runtime(own, base)
        else:
            values[name] = base if own is None else own
    for added, name in _ADDED.items():
        extra = getattr(component, added) or ()
        if getattr(entry, name) is None:
            extra += getattr(entry, added) or ()
            if extra:
                values[name] = (*(getattr(component, name) or ()), *extra)
    given = {name: value for name, value in values.items() if value is not None}
    return ContainerConfig().model_copy(update=given)


def _merged_runtime(entry: Runtime, component: Runtime) -> Runtime:
    return Runtime(
        mkdir=component.mkdir if entry.mkdir is None else entry.mkdir,
        mounts=component.mounts if entry.mounts is None else entry.mounts,
    )
