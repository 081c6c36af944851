# SPDX-License-Identifier: Apache-2.0
"""Fixtures that this folder's tests share."""

from tests.sshd import sshd as sshd
