# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks, all or those that are named, and print what they come to.

python -m benchmarks [startup] [building] [power]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Result
from farm.core.errors import FarmError


def _startup(scratch: Path) -> list[Result]:
    from benchmarks.startup import startup

    return startup(scratch)


def _building(scratch: Path) -> list[Result]:
    from benchmarks.building import building

    return building(scratch)


def _power(scratch: Path) -> list[Result]:
    from benchmarks.power import power

    return power(scratch)


BENCHMARKS: dict[str, Callable[[Path], list[Result]]] = {
    "startup": _startup,
    "building": _building,
    "power": _power,
}


def main(names: list[str]) -> int:
    """Run benchmarks; 2 where a name is none, 1 where one could not be run."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="farm-benchmark-") as folder:
            try:
                for result in BENCHMARKS[name](Path(folder)):
                    print(result, end="\n\n", flush=True)
            except FarmError as error:
                hint = f"\n  {error.hint}" if error.hint else ""
                print(f"{name}: {error.message}{hint}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
