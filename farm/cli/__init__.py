# SPDX-License-Identifier: Apache-2.0
"""What a person types: thin commands, and the one place where an error becomes an exit code."""

from __future__ import annotations


def main() -> None:
    """Run farm's command line; the console script."""
    from farm.cli.app import app

    app(prog_name="farm")
