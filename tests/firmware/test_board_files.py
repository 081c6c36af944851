# SPDX-License-Identifier: Apache-2.0
"""The built-in boards, and the page that describes boards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.firmware.raspberrypi import MODELS
from farm.spec.board import (
    Board,
    DeviceTreeEdit,
    ExtlinuxFirmware,
    Family,
    PiFirmware,
    StandIn,
)
from farm.spec.explain import keys_of
from farm.spec.load import load, load_text
from farm.spec.model import Model
from tests.firmware.cards import BOARDS, board

REFERENCE = (BOARDS.parent / "docs" / "board-reference.md").read_text(encoding="utf-8")
MODELLED: tuple[type[Model], ...] = (
    Board,
    Family,
    PiFirmware,
    ExtlinuxFirmware,
    StandIn,
    DeviceTreeEdit,
)


def test_the_reference_has_every_key() -> None:
    absent = [
        f"{model.__name__}.{key}"
        for model in MODELLED
        for key in keys_of(model)
        if f"`{key}`" not in REFERENCE
    ]
    assert absent == []


def test_the_references_examples_load() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", REFERENCE, flags=re.MULTILINE | re.DOTALL)
    first, second = blocks
    assert load_text(first, "board", Board).name == "lab-pi"
    assert load_text(second, "family", Family).family == ("rpi3", "rpi4")


@pytest.mark.parametrize("path", sorted(BOARDS.glob("*.yml")), ids=lambda path: path.stem)
def test_a_board_is_called_as_its_file_and_is_in_the_reference(path: Path) -> None:
    kind: type[Board | Family] = Family if "\nfamily:" in path.read_text() else Board
    assert load(path, kind).name == path.stem
    assert f"`{path.stem}`" in REFERENCE


@pytest.mark.parametrize("name", ["rpi3", "rpi4"])
def test_a_pi_has_what_its_firmware_needs(name: str) -> None:
    found = board(name)
    assert isinstance(found.firmware, PiFirmware)
    model = MODELS[found.firmware.model]
    on_card = {path.rpartition("/")[2] for path in found.firmware.files}
    assert on_card == {*model.stages, *model.fixups}
    trees = {path.rpartition("/")[2] for path in found.device_trees}
    assert found.firmware.upstream_device_tree in trees
    assert found.modules[0] == "bcm2835_wdt"
