# SPDX-License-Identifier: Apache-2.0
"""What a person types: thin commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run farm's command line; the console script."""
    try:
        from farm.cli.app import app

        app(prog_name="farm")
    except KeyboardInterrupt:
        # Ctrl-C before a command has begun, or after it has ended: those in it are `guarded`.
        from farm.core.errors import ExitCode

        print("farm: interrupted", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
