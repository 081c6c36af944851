# SPDX-License-Identifier: Apache-2.0
"""Joining an entry with its component, by LinuxKit's precedence."""

from __future__ import annotations

from farm.spec.container import ContainerConfig, Mount, Runtime
from farm.spec.merge import merged_config


def test_an_entrys_value_replaces_the_components_whole() -> None:
    entry = ContainerConfig(binds=("/a:/a",), readonly=False, env=())
    component = ContainerConfig(binds=("/b:/b",), readonly=True, env=("A=1",), net="new")
    merged = merged_config(entry, component)
    assert merged.binds == ("/a:/a",)
    assert merged.readonly is False
    assert merged.env == ()
    assert merged.net == "new"
    assert merged.command is None


def test_add_keys_append_to_the_components_lists() -> None:
    entry = ContainerConfig(capabilities_add=("CAP_A",), binds_add=("/x:/x",))
    merged = merged_config(entry, ContainerConfig(capabilities=("CAP_B",)))
    assert merged.capabilities == ("CAP_B", "CAP_A")
    assert merged.binds == ("/x:/x",)
    assert merged.capabilities_add is None
    assert merged.binds_add is None


def test_add_keys_are_without_effect_beside_the_key_itself() -> None:
    entry = ContainerConfig(binds=("/a:/a",), binds_add=("/x:/x",))
    component = ContainerConfig(binds=("/b:/b",), binds_add=("/c:/c",))
    assert merged_config(entry, component).binds == ("/a:/a",)


def test_a_components_own_add_keys_follow_its_list() -> None:
    component = ContainerConfig(binds=("/b:/b",), binds_add=("/c:/c",))
    assert merged_config(ContainerConfig(), component).binds == ("/b:/b", "/c:/c")


def test_runtime_is_joined_key_by_key() -> None:
    mounts = (Mount(destination="/m", type="tmpfs"),)
    entry = ContainerConfig(runtime=Runtime(mkdir=("/a",)))
    component = ContainerConfig(runtime=Runtime(mkdir=("/b",), mounts=mounts))
    assert merged_config(entry, component).runtime == Runtime(mkdir=("/a",), mounts=mounts)
    assert merged_config(ContainerConfig(), component).runtime == component.runtime
    assert merged_config(entry, ContainerConfig()).runtime == entry.runtime


def test_only_what_is_given_is_set_so_that_it_can_be_written_again() -> None:
    merged = merged_config(ContainerConfig(net="host"), ContainerConfig(pid="host"))
    assert merged.model_dump(exclude_unset=True) == {"net": "host", "pid": "host"}
