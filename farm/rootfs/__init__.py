# SPDX-License-Identifier: Apache-2.0
"""Composing the root filesystem out of components, as compressed cpio segments."""

from farm.rootfs.compose import compose
from farm.rootfs.identity import build_id, identity_segment
from farm.rootfs.model import BootFacts, Container, ContainerKind
from farm.rootfs.segment import Codec, Segment, concatenate, image_segment, segment

__all__ = [
    "BootFacts",
    "Codec",
    "Container",
    "ContainerKind",
    "Segment",
    "build_id",
    "compose",
    "concatenate",
    "identity_segment",
    "image_segment",
    "segment",
]
