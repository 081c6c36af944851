# SPDX-License-Identifier: Apache-2.0
"""Measure flashing over loopback: `python -m tests.flash.measure`; see docs/flashing.md.

Prints a table: seconds, bytes that crossed the connection, CPU seconds on either side.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from farm.core.ssh import SshConnection
from farm.flash.blocks import image_blocks
from farm.flash.wire import BLOCK_BYTES
from tests.flash.cards import MIB, differing, flash_it, make_card
from tests.relay import relay
from tests.sshd import Sshd

ROUNDS = 5


def _image(path: Path) -> Path:
    """512 MiB, 50 of them in use: 36 incompressible, 10 text-like, 4 zero."""
    rng = random.Random(3)
    words = [rng.randbytes(rng.randrange(3, 12)).hex().encode() for _ in range(4000)]
    with path.open("wb") as file:
        file.truncate(512 * MIB)
        file.write(rng.randbytes(510) + b"\x55\xaa")
        file.seek(8 * MIB)
        file.write(rng.randbytes(36 * MIB))
        text = b" ".join(rng.choices(words, k=MIB))[: 10 * MIB]
        file.write(text + bytes(4 * MIB))
    return path


def _cpu(sshd: Sshd) -> tuple[float, float]:
    """CPU seconds so far: this process with its ssh clients, and the server with its helpers."""
    here = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    words = Path(f"/proc/{sshd.process.pid}/stat").read_text().rpartition(")")[2].split()
    there = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    return here, there


def _row(name: str, sshd: Sshd, prepare: Callable[[], None], act: Callable[[int], None]) -> None:
    """Measure `act(port)` directly, for time and CPU, and through a relay, for bytes."""
    times, here, there = [], [], []
    for _ in range(ROUNDS):
        prepare()
        before, began = _cpu(sshd), time.monotonic()
        act(sshd.port)
        times.append(time.monotonic() - began)
        here.append(_cpu(sshd)[0] - before[0])
        while sshd.descendants():
            time.sleep(0.01)
        there.append(_cpu(sshd)[1] - before[1])
    prepare()
    with relay(sshd.port) as between:
        act(between.port)
        up, down = between.sent, between.received
    figures = [statistics.median(values) for values in (times, here, there)]
    print(
        f"| {name} | {figures[0]:.2f} | {up / 1e6:.3f} | {down / 1e6:.3f} "
        f"| {figures[1]:.2f} | {figures[2]:.2f} |"
    )


def main() -> None:
    """Print the table of docs/flashing.md."""
    with tempfile.TemporaryDirectory() as name, Sshd.start(Path(name) / "sshd") as sshd:
        folder = Path(name)
        image, card = _image(folder / "image"), folder / "card"
        blocks = image_blocks(image)

        def flash(port: int) -> None:
            flash_it(SshConnection(sshd.through(port)), card, image)

        def change() -> None:
            with image.open("r+b") as file:
                file.seek(blocks.mapped[100] * BLOCK_BYTES + 5)
                file.write(os.urandom(8))

        def dd(port: int) -> None:
            command = SshConnection(sshd.through(port)).data(
                [
                    "dd",
                    f"of={card}",
                    "bs=1M",
                    "iflag=fullblock",
                    "conv=notrunc,fsync",
                    "status=none",
                ]
            )
            assert command.stdin
            with image.open("rb") as file:
                while data := file.read(MIB):
                    command.stdin.write(data)
            assert command.communicate()[0] == b"" and command.returncode == 0

        print("| | s | MB sent | MB back | CPU s here | CPU s on the host |")
        print("|--|--|--|--|--|--|")
        _row("first flash", sshd, lambda: make_card(card, size=520 * MIB) and None, flash)
        _row("one block changed", sshd, change, flash)
        _row("nothing changed", sshd, lambda: None, flash)
        _row("`dd` over ssh, all of it, unverified", sshd, lambda: None, dd)
        assert differing(card, image, blocks) == 0


if __name__ == "__main__":
    main()
