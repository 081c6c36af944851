# SPDX-License-Identifier: Apache-2.0
"""Writing images to cards: block maps, deltas over SSH, verification.

`image_blocks` reads what an image holds, `flash` makes a card on a bench host hold it.
"""

from farm.flash.blocks import ImageBlocks, image_blocks, read_blocks
from farm.flash.client import FlashCancelledError, FlashReport, flash

__all__ = [
    "FlashCancelledError",
    "FlashReport",
    "ImageBlocks",
    "flash",
    "image_blocks",
    "read_blocks",
]
