# SPDX-License-Identifier: Apache-2.0
"""What all tests share: state of their own, and the one cache of packages and kernels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's benches, results or ssh configuration.

    The cache is shared on purpose: what is in it is found by content, and filling it anew for
    each test would fetch the same packages a hundred times.
    """
    monkeypatch.setenv("FARM_STATE", str(tmp_path_factory.mktemp("state")))
    for name in ("SOURCE_DATE_EPOCH", "FARM_SUITE"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root are skipped, and counted, where the user is somebody else."""
    if os.getuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


@pytest.fixture
def checkout() -> Path:
    """The top of the checkout."""
    return Path(__file__).parents[1]
