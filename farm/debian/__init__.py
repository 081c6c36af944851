# SPDX-License-Identifier: Apache-2.0
"""Debian packages of any architecture: resolved, fetched and read, without root or emulation."""

from farm.debian.archive import Archive, Package, StaleIndexError, tidy_downloads
from farm.debian.deb import merged_path, package_tree
from farm.debian.settings import ArchiveSettings

__all__ = [
    "Archive",
    "ArchiveSettings",
    "Package",
    "StaleIndexError",
    "merged_path",
    "package_tree",
    "tidy_downloads",
]
