# SPDX-License-Identifier: Apache-2.0
"""A stand-in's changes of a device tree, with dtc and fdtget as the judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm.core.run import run
from farm.firmware.boot import boot_card, boot_real
from farm.firmware.card import CardError
from farm.firmware.devicetree import apply_edits, check_device_tree
from farm.spec.board import DeviceTreeEdit
from tests.firmware.cards import DEVICE_TREE, board, make_card, pi_files

SOURCE = """/dts-v1/;
/ {
    soc {
        mmc@7e300000 { status = "okay"; bus-width = <1>; non-removable; wifi@1 { reg = <1>; }; };
    };
    emmc2bus { mmc@7e340000 { status = "okay"; }; };
};
"""


@pytest.fixture
def tree() -> bytes:
    return run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=SOURCE.encode()).stdout


def source_of(dtb: bytes) -> str:
    return run(["dtc", "-q", "-I", "dtb", "-O", "dts"], input=dtb).stdout.decode()


def test_properties_and_nodes_change(tree: bytes) -> None:
    edits = (
        DeviceTreeEdit(node="/emmc2bus/mmc@7e340000", set={"status": "disabled"}, why="x"),
        DeviceTreeEdit(node="/soc/mmc@7e300000/wifi@1", delete_node=True, why="x"),
        DeviceTreeEdit(
            node="/soc/mmc@7e300000", set={"bus-width": 4}, delete=("non-removable",), why="x"
        ),
    )
    text = source_of(apply_edits(tree, edits))
    assert 'status = "disabled"' in text and "bus-width = <0x04>" in text
    assert "wifi@1" not in text and "non-removable" not in text
    assert apply_edits(tree, edits) == apply_edits(tree, edits)


def test_a_property_that_is_not_there_need_not_be_deleted(tree: bytes) -> None:
    edit = DeviceTreeEdit(node="/soc/mmc@7e300000", delete=("none",), why="x")
    assert source_of(apply_edits(tree, [edit])) == source_of(tree)
    assert apply_edits(tree, ()) is tree


@pytest.mark.parametrize(
    "edit",
    [
        DeviceTreeEdit(node="/soc/mcm@7e300000", set={"status": "disabled"}, why="x"),
        DeviceTreeEdit(node="/soc/mcm@7e300000", delete=("status",), why="x"),
        DeviceTreeEdit(node="/soc/mcm@7e300000", delete_node=True, why="x"),
    ],
)
def test_a_node_that_is_misspelt_is_an_error(tree: bytes, edit: DeviceTreeEdit) -> None:
    with pytest.raises(CardError, match="it has no node /soc/mcm@7e300000"):
        apply_edits(tree, [edit])


def test_the_boards_file_is_named(tree: bytes, tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", pi_files(**{"bcm2711-rpi-4-b.dtb": tree})).path
    outcome = boot_card(board("rpi4"), card)
    assert outcome.plan is None and outcome.reason is not None
    assert "stand_in.device_tree of boards/rpi4.yml" in outcome.reason
    assert "no node /soc/" in outcome.reason
    assert boot_real(board("rpi4"), card).plan is not None


def test_a_damaged_tree_is_an_error() -> None:
    edit = DeviceTreeEdit(node="/soc", set={"status": "disabled"}, why="x")
    with pytest.raises(CardError, match=r"device tree: /soc: cannot be read: .*FDT_ERR"):
        apply_edits(b"\xd0\x0d\xfe\xed" + bytes(100), [edit])


def test_the_header_is_checked(tree: bytes) -> None:
    check_device_tree(tree, "x")
    for spoiled in (b"", b"x" * 100, tree[:-1], tree[:4] + bytes(4) + tree[8:]):
        with pytest.raises(CardError, match=r"x: (not )?a device tree"):
            check_device_tree(spoiled, "x")


def _tree_with(nodes: Iterable[str]) -> bytes:
    whole: dict[str, Any] = {}
    for node in nodes:
        place = whole
        for name in node.strip("/").split("/"):
            place = place.setdefault(name, {})

    def text(nodes: dict[str, Any]) -> str:
        return "".join(f"{name} {{ {text(below)} }};\n" for name, below in nodes.items())

    source = f"/dts-v1/;\n/ {{ {text(whole)} }};\n"
    return run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=source.encode()).stdout


def test_only_the_stand_in_gets_them(tmp_path: Path) -> None:
    stand_in = board("rpi4").stand_in
    assert stand_in is not None
    tree = _tree_with(edit.node for edit in stand_in.device_tree)
    card = make_card(tmp_path / "card", pi_files(**{"bcm2711-rpi-4-b.dtb": tree})).path
    real, virtual = boot_real(board("rpi4"), card), boot_card(board("rpi4"), card)
    assert real.plan is not None and virtual.plan is not None
    assert real.plan.device_tree == tree
    assert virtual.plan.device_tree != tree
    assert replace(virtual.plan, device_tree=tree) == real.plan
    told = [line for line in virtual.log if line not in real.log]
    assert told == ["stand-in: device tree changed in 11 nodes (stand_in.device_tree of rpi4)"]


def test_a_tree_that_only_begins_like_one_stops_the_board(tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", pi_files(**{"bcm2711-rpi-4-b.dtb": DEVICE_TREE})).path
    outcome = boot_card(board("rpi4"), card)
    assert outcome.plan is None
    assert outcome.reason is not None and "device tree" in outcome.reason
