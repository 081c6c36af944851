# SPDX-License-Identifier: Apache-2.0
"""The linters, run as tests: what they ask for is asked of every change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from farm.core.run import run
from tests.house.checkout import ROOT

PYTHON = sys.executable
LINTERS = {
    "ruff-check": [PYTHON, "-m", "ruff", "check", "--no-cache", "."],
    "ruff-format": [PYTHON, "-m", "ruff", "format", "--no-cache", "--check", "."],
    "mypy": [PYTHON, "-m", "mypy"],
    "import-linter": [str(Path(PYTHON).with_name("lint-imports")), "--no-cache"],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linter(name: str) -> None:
    done = run(LINTERS[name], cwd=ROOT, timeout_s=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
