# SPDX-License-Identifier: Apache-2.0
"""A person at a board's console: a terminal, a shell behind getty, Ctrl-]."""

from __future__ import annotations

import os
import pty
import re
import select
from collections.abc import Callable

import pytest

from farm.core.run import Process, spawn

from .command import PATIENCE_S, Farm

pytestmark = [
    pytest.mark.boot,
    pytest.mark.network,
    pytest.mark.xdist_group("whole-console"),
]
TARGET = "qemu-arm64-1"
ASSEMBLY = """\
kernel: {image: farm/debian}
init: [farm/init]
services:
  - {name: getty, image: farm/getty, env: [INSECURE=true]}
"""


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, farm: Farm, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.process: Process = spawn(
            [farm.program, *words],
            cwd=farm.folder,
            env={**farm.environment(), "TERM": "vt100"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> None:
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self._master], [], [], PATIENCE_S)
            assert ready, f"{pattern!r} never came after {self.seen!r}"
            try:
                more = os.read(self._master, 65536)
            except OSError:
                more = b""
            assert more, f"{pattern!r} never came; the command ended with {self.seen!r}"
            self.seen += more.decode(errors="replace")
        self.seen = ""

    def end(self) -> int:
        code = self.process.wait(PATIENCE_S)
        os.close(self._master)
        return code


def test_a_shell_by_the_console(
    bench: Farm, until: Callable[[Callable[[], bool], str], None]
) -> None:
    (bench.folder / "shell.yml").write_text(ASSEMBLY)
    flashed = bench("flash", "--board", "qemu-arm64", "shell.yml")
    assert flashed.code == 0, flashed.out + flashed.err
    terminal = Terminal(bench, "console", TARGET)
    terminal.expect("Ctrl-] leaves")
    watcher = Terminal(bench, "console", "--watch", TARGET)
    watcher.expect("watching only")
    terminal.type("\x1d")
    assert terminal.end() == 0

    on = bench("power", "on", TARGET)
    assert on.code == 0 and "is on" in on.out, on.err
    watcher.expect("farm/1 .* complete")
    terminal = Terminal(bench, "console", TARGET)
    terminal.expect("Ctrl-] leaves")
    terminal.type("\r")
    terminal.expect("[#$] ")
    terminal.type("echo $((6 * 7))\r")
    terminal.expect("\n42")
    watcher.expect("\n42")
    terminal.type("\x1d")
    assert terminal.end() == 0
    watcher.type("\x1d")
    assert watcher.end() == 0

    off = bench("power", "off", TARGET)
    assert off.code == 0 and "is off" in off.out
    (log,) = bench.state.glob(f"bench/**/*{TARGET}*.log")
    assert b"42" in log.read_bytes()


def test_power_of_a_target_that_is_not_there(bench: Farm) -> None:
    said = bench("power", "on", "nonsense")
    assert said.code == 2
    assert TARGET in said.err
