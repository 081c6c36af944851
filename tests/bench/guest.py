# SPDX-License-Identifier: Apache-2.0
"""Cards with a guest of a few dozen instructions (guest.s), which QEMU starts in a moment."""

from __future__ import annotations

from pathlib import Path

from farm.core.arch import Arch
from farm.image.card import CardFile, write_card
from farm.spec.board import Board, ExtlinuxFirmware, StandIn

HELLO = b"guest: hello"

# guest.s, assembled; the bytes after the code are the line that it says.
GUEST = (
    bytes.fromhex(
        "100000141f2003d5000000000000000000000100000000000200000000000000"
        "000000000000000000000000000000000000000000000000"
        "41524d6400000000"
        "0120a1d2420300104314403863000034230000b9fdffff17"
        "241840b9e4ff2737230040b97fc80171e00000547fbc0171000100547f980171"
        "20010054230000b9f6ffff17"
        "0080b05220018072020000d4"
        "0080b05200018072020000d4"
        "63040011651c0012250000b9fdffff17"
    )
    + HELLO
    + b"\r\n\0"
)


def tiny_board(**stand_in: object) -> Board:
    """QEMU's virt machine without a network, as small as it gets."""
    settings: dict[str, object] = {
        "machine": "virt",
        "cpu": "cortex-a53",
        "memory_mib": 64,
        "card": "virtio",
        **stand_in,
    }
    return Board(
        format=1,
        name="tiny",
        title="a board for tests",
        arch=Arch.ARM64,
        firmware=ExtlinuxFirmware(kind="extlinux"),
        cmdline="console=ttyAMA0",
        stand_in=StandIn.model_validate(settings),
    )


def write_guest_card(path: Path, *, hello: bytes = HELLO, card_mib: int = 512) -> Path:
    """Write a card that boots the guest; `hello` is what it says, of the same length."""
    assert len(hello) == len(HELLO)
    conf = "default only\nlabel only\n  kernel /Image\n  append quiet\n"
    write_card(
        path,
        [
            CardFile("Image", (GUEST.replace(HELLO, hello),)),
            CardFile("extlinux/extlinux.conf", (conf.encode(),)),
        ],
        label="GUEST",
        key=hello.decode(),
    )
    with path.open("r+b") as card:
        card.truncate(card_mib << 20)
    return path
