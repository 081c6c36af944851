# SPDX-License-Identifier: Apache-2.0
"""What a build promises of a board, as the smoke verdict's expectation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from farm.build.record import BuildRecord
from farm.smoke.verdict import Expectation, Limits
from farm.spec.board import Board


def expectation_for(
    record: BuildRecord | None,
    board: Board,
    *,
    missing: Iterable[str] = (),
    limits: Limits | None = None,
) -> Expectation:
    """Return what a boot of an image on a board must show.

    Args:
        record: of the build; None where the image is not farm's, so that whatever its
            timeline says is believed.
        board: the board that boots it.
        missing: what the target lacks although its board has it, e.g. a stand-in's `missing`.
        limits: else the usual ones, with room for the board's network wait and the longest
            health command.
    """
    if limits is None:
        usual = Limits()
        health_s = max((one.health_s for one in record.services), default=0) if record else 0
        step_s = usual.step_s + 2 * board.network_wait_s + health_s
        limits = dataclasses.replace(usual, step_s=step_s)
    if record is None:
        return Expectation(board.firmware.kind, missing=tuple(missing), limits=limits)
    return Expectation(
        firmware_kind=board.firmware.kind,
        onboot=tuple(one.name for one in record.onboot),
        services=tuple(one.name for one in record.services),
        ports=tuple((one.name, port) for one in record.services for port in one.ports),
        missing=tuple(missing),
        build_id=record.build_id,
        kernel_release=record.kernel_release,
        limits=limits,
    )
