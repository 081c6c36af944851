# SPDX-License-Identifier: Apache-2.0
"""Slots: how much room they waste, and that growth within a step moves nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.image.slots import BLOCK, SMALL_UNIT, lay_out, step

sizes = st.one_of(st.integers(0, 3 * BLOCK), st.integers(0, 1 << 30))
items = st.lists(st.lists(sizes, min_size=1, max_size=4), max_size=20)


@given(sizes, st.sampled_from([BLOCK, SMALL_UNIT]))
def test_a_step_is_an_eighth_at_the_most(size: int, unit: int) -> None:
    rounded = step(size, unit)
    assert rounded % unit == 0 and rounded >= size
    assert rounded - size < unit + size / 8
    assert step(rounded, unit) == rounded
    assert step(size + 1, unit) >= rounded


@given(items)
def test_slots_follow_each_other_and_large_ones_are_aligned(many: list[list[int]]) -> None:
    layout = lay_out(many)
    spans = sorted(
        (offset, slot)
        for place in layout.places
        for offset, slot in zip(place.offsets, place.slot_bytes, strict=True)
    )
    end = 0
    for offset, slot in spans:
        assert offset >= end
        end = offset + slot
    assert end <= layout.total and layout.total % BLOCK == 0 and layout.small % BLOCK == 0
    for sizes_, place in zip(many, layout.places, strict=True):
        for size, offset, slot in zip(sizes_, place.offsets, place.slot_bytes, strict=True):
            assert slot >= size
            assert offset % (BLOCK if offset >= layout.small else SMALL_UNIT) == 0


@given(items.filter(bool), st.data())
def test_growth_within_the_slot_moves_nothing(many: list[list[int]], data: st.DataObject) -> None:
    before = lay_out(many)
    item = data.draw(st.integers(0, len(many) - 1))
    part = data.draw(st.integers(0, len(many[item]) - 1))
    small = len(many[item]) == 1 and many[item][0] < BLOCK
    most = min(before.places[item].slot_bytes[part], BLOCK - 1 if small else 1 << 40)
    grown = [list(parts) for parts in many]
    grown[item][part] = data.draw(st.integers(many[item][part], max(many[item][part], most)))
    assert lay_out(grown) == before
