# SPDX-License-Identifier: Apache-2.0
"""What the command line costs before it does anything."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Result, interleaved, wall_s

GOAL_S = 0.120
COUNT = 15


def startup(scratch: Path) -> list[Result]:
    """`farm --help` against a Python that does nothing.

    Args:
        scratch: an empty folder.
    """
    farm = Path(sys.executable).with_name("farm")
    python, ours = interleaved(
        COUNT,
        (
            ("python -c pass", lambda: wall_s([sys.executable, "-c", "pass"], cwd=scratch)),
            ("farm --help", lambda: wall_s([farm, "--help"], cwd=scratch)),
        ),
    )
    return [
        Result(
            "start-up of the command line",
            "Wall time of `farm --help`, and what it costs more than Python's own start.",
            (python, ours),
            ours.median - python.median,
            "s",
            GOAL_S,
            (f"ratio {ours.median / python.median:.1f}",),
        )
    ]
