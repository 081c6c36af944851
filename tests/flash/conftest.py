# SPDX-License-Identifier: Apache-2.0
"""Fixtures that this folder's tests share: a bench host, images, cards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from farm.core.ssh import SshConnection
from tests.sshd import Sshd
from tests.sshd import sshd as sshd


@pytest.fixture
def connection(sshd: Sshd) -> Iterator[SshConnection]:
    """A connection to the throw-away bench host; logs in where that is needed."""
    made = SshConnection(sshd.endpoint)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A flash leaves no thread behind, however it ends."""
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("flash")]
