# SPDX-License-Identifier: Apache-2.0
"""Changing a device tree for a stand-in, with `fdtput` of the device tree compiler.

A property that is deleted may be absent: another kernel's tree may lack it. A node that is absent
is an error, since it may be misspelt just as well; so is all else that `fdtput` refuses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from farm.core.run import run
from farm.firmware.card import CardError
from farm.spec.board import DeviceTreeEdit

MAGIC = b"\xd0\x0d\xfe\xed"
_TIMEOUT_S = 30.0


def check_device_tree(data: bytes, what: str) -> None:
    """Check that these bytes begin as a device tree does, and are all there.

    Source: Devicetree specification 0.4, section 5.2.

    Raises:
        CardError: they are none, or cut short.
    """
    if data[:4] != MAGIC:
        raise CardError(f"{what}: not a device tree (it does not begin with d00dfeed)")
    size = int.from_bytes(data[4:8], "big")
    if not 40 <= size <= len(data):
        raise CardError(f"{what}: a device tree of {size} bytes in a file of {len(data)}")


def apply_edits(dtb: bytes, edits: Sequence[DeviceTreeEdit]) -> bytes:
    """Return the tree with a stand-in's changes.

    Raises:
        CardError: the tree has no such node, or `fdtput` refuses the tree, which is damaged.
        MissingProgramError: the device tree compiler's programs are not installed.
    """
    if not edits:
        return dtb
    with tempfile.TemporaryDirectory(prefix="farm-dtb-") as folder:
        path = Path(folder) / "tree.dtb"
        path.write_bytes(dtb)
        for edit in edits:
            _check_node(path, edit)
            for argv in _commands(path, edit):
                _fdtput(argv, edit)
        return path.read_bytes()


def _check_node(path: Path, edit: DeviceTreeEdit) -> None:
    argv: list[str | Path] = ["fdtget", "-p", path, edit.node]
    done = run(argv, timeout_s=_TIMEOUT_S, check=False, what=f"device tree: {edit.node}")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CardError(
            f"device tree: it has no node {edit.node}"
            if "FDT_ERR_NOTFOUND" in said
            else f"device tree: {edit.node}: cannot be read: {said or done.returncode}"
        )


def _commands(path: Path, edit: DeviceTreeEdit) -> list[list[str | Path]]:
    if edit.delete_node:
        return [["fdtput", "-r", path, edit.node]]
    commands: list[list[str | Path]] = []
    for name, value in edit.set.items():
        kind = "s" if isinstance(value, str) else "i"
        commands.append(["fdtput", "-t", kind, path, edit.node, name, str(value)])
    commands.extend(["fdtput", "-d", path, edit.node, name] for name in edit.delete)
    return commands


def _fdtput(argv: Sequence[str | Path], edit: DeviceTreeEdit) -> None:
    done = run(argv, timeout_s=_TIMEOUT_S, check=False, what=f"device tree: {edit.node}")
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode and "FDT_ERR_NOTFOUND" not in said:
        raise CardError(f"device tree: {edit.node}: cannot be changed: {said or done.returncode}")
