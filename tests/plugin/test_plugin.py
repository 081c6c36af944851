# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin, in pytest sessions of its own."""

from __future__ import annotations

import subprocess  # noqa: TID251 - asks a fresh interpreter what the plugin imports
import sys
from pathlib import Path

import pytest

import farm

pytest_plugins = ["pytester"]
HIL = Path(farm.__file__).parent.parent / "hil"


def test_importing_it_imports_nothing_of_farm() -> None:
    code = (
        "import sys, farm.plugin;"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('farm', 'anyio', 'pydantic', 'paramiko', 'fabric', 'jinja2', 'serial')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "['farm', 'farm.plugin']"


def test_other_sessions_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_own_fixture(power): assert power == 1
        import pytest
        @pytest.fixture
        def power(): return 1
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert "farm: board" not in result.stdout.str()


def test_without_a_board_tests_are_skipped_with_the_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile((HIL / "test_boot.py").read_text())
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=5)
    result.stdout.fnmatch_lines(["*no board was chosen: pytest --farm-board NAME*"])


def test_a_wrong_name_is_one_error_and_the_rest_is_skipped(pytester: pytest.Pytester) -> None:
    pytester.makepyfile((HIL / "test_boot.py").read_text())
    result = pytester.runpytest_subprocess("--farm-board", "rpi44", "-rs")
    result.assert_outcomes(errors=1, skipped=4)
    result.stdout.fnmatch_lines(["*unknown board 'rpi44'*", "*the board is dead*"])


def test_an_image_that_is_not_there(pytester: pytest.Pytester) -> None:
    pytester.makepyfile((HIL / "test_boot.py").read_text())
    result = pytester.runpytest_subprocess(
        "--farm-board", "rpi4", "--farm-no-bench", "--farm-image", "none.img"
    )
    result.assert_outcomes(errors=1, skipped=4)
    result.stdout.fnmatch_lines(["*none.img: no such file*"])
