# SPDX-License-Identifier: Apache-2.0
"""The program that the benchmark compares with, run by Debian's kernel in QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.marker import MARK, marker_program
from benchmarks.power import marker_segment
from farm.core.arch import Arch
from farm.core.progress import LineReporter
from farm.core.run import run
from farm.debian import ArchiveSettings
from farm.kernels import prepare_kernel
from farm.oci.store import Store
from farm.spec.project import Project


def test_it_is_the_same_everywhere_and_small() -> None:
    assert marker_program() == marker_program()
    assert len(marker_program()) < 400


@pytest.mark.network
@pytest.mark.boot
def test_it_prints_the_guests_time_and_switches_off(tmp_path: Path) -> None:
    store = Store()
    found = Project.find(Path(__file__).parent).kernel("debian")
    settings = ArchiveSettings.from_environment()
    kernel = prepare_kernel(found, Arch.ARM64, store, settings, LineReporter())
    (tmp_path / "initrd").write_bytes(marker_segment())
    path = store.blob_path(kernel.kernel.digest)
    argv = "qemu-system-aarch64 -M virt -cpu cortex-a72 -m 512 -display none -serial stdio -monitor"
    argv += " none -nic none -no-reboot -icount shift=0,sleep=off -initrd initrd -append"
    cmdline = "console=ttyAMA0 quiet rdinit=/farm-marker"
    done = run([*argv.split(), cmdline, "-kernel", path], cwd=tmp_path, timeout_s=120)
    said = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    assert len(said) == 1
    assert 0.3 < int(said[0].removeprefix(MARK)) / 1e9 < 10
