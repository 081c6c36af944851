# SPDX-License-Identifier: Apache-2.0
"""Where files lie on a card, so that one that grows a little moves nothing behind it.

A slot's size is rounded up in steps of an eighth of a power of two, and depends on the file's
size alone. So a file may change within its step and all others keep their places. Everything of
64 KiB and more begins on a multiple of 64 KiB of the card, the block in which cards are compared;
what is smaller shares a region, in slots of 4 KiB and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 64 * 1024
SMALL_UNIT = 4096


def step(size: int, unit: int = BLOCK) -> int:
    """Round a size in bytes up to the next eighth of a power of two, in whole units.

    >>> [step(n * BLOCK) // BLOCK for n in (0, 1, 15, 16, 17, 31, 33)]
    [0, 1, 15, 16, 18, 32, 36]
    """
    units = -(-size // unit)
    if units == 0:
        return 0
    rough = max(1, (1 << (units.bit_length() - 1)) // 8)
    return -(-units // rough) * rough * unit


@dataclass(frozen=True)
class Placed:
    """Where one item's slots begin, in bytes from the region's beginning."""

    offsets: tuple[int, ...]
    slot_bytes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """All items' places.

    Args:
        small: how many bytes the region of small items has.
        total: how many bytes all have together.
    """

    places: tuple[Placed, ...]
    small: int
    total: int


def lay_out(items: Sequence[Sequence[int]]) -> Layout:
    """Place items, small ones first, each kind in the order given.

    Args:
        items: for each the sizes of its parts in bytes; one of several parts has a slot a part.
    """
    small = [len(sizes) == 1 and sizes[0] < BLOCK for sizes in items]
    places: dict[int, Placed] = {}
    at = 0
    for index, sizes in enumerate(items):
        if small[index]:
            slot = step(sizes[0], SMALL_UNIT)
            places[index] = Placed((at,), (slot,))
            at += slot
    small_bytes = at = step(at)
    for index, sizes in enumerate(items):
        if not small[index]:
            slots = tuple(step(size) for size in sizes)
            starts = []
            for slot in slots:
                starts.append(at)
                at += slot
            places[index] = Placed(tuple(starts), slots)
    return Layout(tuple(places[i] for i in range(len(items))), small_bytes, at)
