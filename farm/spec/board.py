# SPDX-License-Identifier: Apache-2.0
"""A board's definition, `boards/NAME.yml`: a kind of hardware, or a family of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from farm.spec.component import Need
from farm.spec.model import ArchName, Model, Name


class PiFirmware(Model):
    """A Raspberry Pi: its own firmware reads config.txt from the card's FAT partition."""

    kind: Literal["raspberrypi"] = Field(description="how the board finds its kernel")
    model: Literal["pi3", "pi4"] = Field(
        description="its name in config.txt's conditional sections; decides the default names"
    )
    device_tree: str = Field(description="the name that the firmware looks for on the card")
    upstream_device_tree: str = Field(description="the same where config.txt has upstream_kernel=1")
    image: str = Field(description="the component that has the firmware's files")
    files: tuple[str, ...] = Field((), description="of that component, put on the boot partition")
    config: str = Field(description="config.txt; its keys are documented by Raspberry Pi")


class ExtlinuxFirmware(Model):
    """U-Boot's distro boot: extlinux/extlinux.conf of the card's first partition."""

    kind: Literal["extlinux"] = Field(description="how the board finds its kernel")


Firmware = Annotated[PiFirmware | ExtlinuxFirmware, Field(discriminator="kind")]


class DeviceTreeEdit(Model):
    """A change that only QEMU's model of the board needs, and why."""

    node: str = Field(description="path of the node, from /")
    set: dict[str, str | int] = Field({}, description="property → string, or 32-bit number")
    delete: tuple[str, ...] = Field((), description="properties to delete")
    delete_node: bool = Field(False, description="true: the node and all below it goes")
    why: str = Field(description="what QEMU's model does that the board does not")

    @model_validator(mode="after")
    def _one_thing(self) -> DeviceTreeEdit:
        if not (self.set or self.delete or self.delete_node):
            raise ValueError("nothing is changed: give set, delete or delete_node")
        return self


class StandIn(Model):
    """The board's QEMU stand-in: the machine, and in what it differs from the board."""

    machine: str = Field(description="QEMU's -machine")
    cpu: str | None = Field(None, description="QEMU's -cpu, where the machine's own is not meant")
    cpus: int | None = Field(None, ge=1, le=64, description="QEMU's -smp")
    memory_mib: int = Field(gt=0, description="as the board has it")
    accel: str = Field("tcg,thread=single", description="QEMU's -accel")
    card: Literal["sd", "virtio"] = Field(description="how QEMU is given the card")
    card_mib: int = Field(
        512, gt=0, description="size of the card; a power of two where `card: sd`"
    )
    console_port: int = Field(
        0, ge=0, le=3, description="which of QEMU's serial ports is the console"
    )
    device_tree: tuple[DeviceTreeEdit, ...] = Field(
        (), description="changes of the card's device tree that only QEMU needs"
    )
    network: str | None = Field(None, description="QEMU's -device for the network card, or none")
    args: tuple[str, ...] = Field((), description="further arguments of QEMU")
    missing: tuple[Need, ...] = Field((), description="what the model lacks and the board has")


class Board(Model):
    """A kind of hardware."""

    format: Literal[1] = Field(description="the version of this file's format")
    name: Name = Field(description="as its file is called")
    title: str = Field(description="what people call it")
    arch: ArchName = Field(description="its architecture, by the kernel's name")
    firmware: Firmware = Field(description="what reads the card and starts the kernel")
    device_trees: tuple[str, ...] = Field((), description="of the kernel's, as FOLDER/NAME.dtb")
    cmdline: str = Field(description="the board's part of the kernel command line")
    modules: tuple[str, ...] = Field((), description="kernel modules loaded at boot, in this order")
    network_wait_s: float = Field(
        0, ge=0, le=120, description="guest seconds that a network card may take to appear"
    )
    stand_in: StandIn | None = Field(
        None, description="how QEMU stands in for it; without one it is never virtual"
    )


class Family(Model):
    """Several boards that one image serves: the union of what they need."""

    format: Literal[1] = Field(description="the version of this file's format")
    name: Name = Field(description="as its file is called")
    title: str = Field(description="what people call it")
    family: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        min_length=2, description="names of the boards"
    )
