# SPDX-License-Identifier: Apache-2.0
"""The reference suite: what every board does with the reference assembly.

    pytest hil/ --farm-board rpi4                    # a target of the bench
    pytest hil/ --farm-board rpi3 --farm-no-bench    # a throw-away virtual board

The board is booted once, before the first test that asks for it. A board that does not pass is
one failure, with the reason; the other tests are skipped. Copy this file and go on from here:
docs/testing-on-boards.md says what `board`, `console`, `shell` and `power` offer.
"""

from __future__ import annotations

from urllib.request import urlopen

import pytest


def test_boot_is_complete(board):
    """Init says that all of onboot ended well and that every service is up."""
    assert board.verdict.passed
    assert "complete" in [event.name for event in board.timeline]


def test_every_container_is_accounted_for(board):
    """Each one of the assembly ended well, is up, or was skipped for a reason that is known."""
    well = {event.fields["name"] for event in board.timeline if event.name == "service-up"}
    well |= {
        event.fields["name"]
        for event in board.timeline
        if event.name == "onboot-end" and event.fields["rc"] == "0"
    }
    skipped = {one.name for one in board.verdict.skipped}
    promised = {one.name for one in (*board.record.onboot, *board.record.services)}
    assert promised <= well | skipped


def test_no_module_failed(board):
    """Every kernel module that the image carries for this board was loaded."""
    modules = next(event for event in board.timeline if event.name == "modules")
    assert modules.fields["failed"] == "0"


def test_kernel_is_the_one_that_was_built(shell, board):
    """The system that runs is the one that the build record describes."""
    assert shell.run("uname -r").stdout.strip() == board.record.kernel_release


def test_hello_answers_from_outside(board):
    """The page is served to whoever asks over the network."""
    if any(one.need == "network" for one in board.verdict.skipped):
        pytest.skip("this target has no network")
    address, port = board.endpoint(80)
    with urlopen(f"http://{address}:{port}/", timeout=30) as answer:
        assert answer.status == 200
