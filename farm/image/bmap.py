# SPDX-License-Identifier: Apache-2.0
"""The block map beside an image, for bmaptool and other flashers.

Source: bmap format 2.0, as in bmaptool's own documentation of the file: ranges of 4-KiB blocks
with SHA-256 each, and the SHA-256 of the file itself with that value taken as zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

BLOCK = 4096


def bmap_xml(image_bytes: int, ranges: Sequence[tuple[int, int, str]]) -> bytes:
    """Return the block map's bytes.

    Args:
        image_bytes: the image's size.
        ranges: for each mapped extent its offset and size in bytes, multiples of 4 KiB (but for
            the image's end), and the hex SHA-256 of its bytes.
    """
    rows = []
    mapped = 0
    for offset, size, digest in ranges:
        first, last = offset // BLOCK, (offset + size - 1) // BLOCK
        mapped += last - first + 1
        span = str(first) if first == last else f"{first}-{last}"
        rows.append(f'        <Range chksum="{digest}"> {span} </Range>\n')
    zeros = "0" * 64
    text = (
        '<?xml version="1.0" ?>\n'
        '<bmap version="2.0">\n'
        f"    <ImageSize> {image_bytes} </ImageSize>\n"
        f"    <BlockSize> {BLOCK} </BlockSize>\n"
        f"    <BlocksCount> {-(-image_bytes // BLOCK)} </BlocksCount>\n"
        f"    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n"
        "    <ChecksumType> sha256 </ChecksumType>\n"
        f"    <BmapFileChecksum> {zeros} </BmapFileChecksum>\n"
        "    <BlockMap>\n" + "".join(rows) + "    </BlockMap>\n"
        "</bmap>\n"
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text.replace(zeros, digest, 1).encode()
