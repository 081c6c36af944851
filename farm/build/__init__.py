# SPDX-License-Identifier: Apache-2.0
"""An assembly for a board, whole: resolved, built, and written as a card image."""

from farm.build.assemble import Built, build
from farm.build.record import BuildRecord, ContainerRecord, PartRecord, read_record

__all__ = ["BuildRecord", "Built", "ContainerRecord", "PartRecord", "build", "read_record"]
