# SPDX-License-Identifier: Apache-2.0
"""A stand-in's changes of a device tree, with dtc and fdtget as the judges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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


def test_what_another_kernels_tree_lacks_needs_no_change(tree: bytes) -> None:
    edits = (
        DeviceTreeEdit(node="/soc/none", set={"status": "disabled"}, why="x"),
        DeviceTreeEdit(node="/soc/mmc@7e300000", delete=("none",), why="x"),
        DeviceTreeEdit(node="/none/none", delete_node=True, why="x"),
    )
    assert source_of(apply_edits(tree, edits)) == source_of(tree)
    assert apply_edits(tree, ()) is tree


def test_a_damaged_tree_is_an_error() -> None:
    edit = DeviceTreeEdit(node="/soc", set={"status": "disabled"}, why="x")
    with pytest.raises(CardError, match=r"device tree: /soc: cannot be changed: .*FDT_ERR"):
        apply_edits(b"\xd0\x0d\xfe\xed" + bytes(100), [edit])


def test_the_header_is_checked(tree: bytes) -> None:
    check_device_tree(tree, "x")
    for spoiled in (b"", b"x" * 100, tree[:-1], tree[:4] + bytes(4) + tree[8:]):
        with pytest.raises(CardError, match=r"x: (not )?a device tree"):
            check_device_tree(spoiled, "x")


def test_only_the_stand_in_gets_them(tree: bytes, tmp_path: Path) -> None:
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
