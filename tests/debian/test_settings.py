# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from farm.core.arch import Arch
from farm.core.errors import UserError
from farm.debian import Archive, ArchiveSettings


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARM_MIRROR", raising=False)
    assert ArchiveSettings.from_environment() == ArchiveSettings(None, "trixie")
    monkeypatch.setenv("FARM_MIRROR", "https://mirror.example/debian")
    monkeypatch.setenv("FARM_SUITE", "bookworm")
    assert ArchiveSettings.from_environment() == ArchiveSettings(
        "https://mirror.example/debian", "bookworm"
    )


@pytest.mark.parametrize(
    "mirror",
    ["mirror.example", "ftp://x/debian", "http://x/ [trusted=yes]", 'http://x/"', "http://"],
)
def test_a_mirror_that_is_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("FARM_MIRROR", mirror)
    with pytest.raises(UserError, match="not the address of a mirror"):
        ArchiveSettings.from_environment()
    with pytest.raises(UserError, match="not the address of a mirror"):
        Archive(ArchiveSettings(mirror), arch=Arch.ARM64)


@pytest.mark.parametrize("suite", ["Trixie", "a b", "../x", "a\nb", "[x]"])
def test_a_suite_that_is_no_name_is_refused(monkeypatch: pytest.MonkeyPatch, suite: str) -> None:
    monkeypatch.setenv("FARM_SUITE", suite)
    with pytest.raises(UserError, match="not a suite's name"):
        ArchiveSettings.from_environment()
    with pytest.raises(UserError, match="not a suite's name"):
        Archive(ArchiveSettings(), arch=Arch.ARM64, suite=suite)


def test_an_area_that_is_no_name_is_refused() -> None:
    with pytest.raises(UserError, match="not an area"):
        Archive(ArchiveSettings(), arch=Arch.ARM64, areas=("main", "a b"))
