# SPDX-License-Identifier: Apache-2.0
"""Why the helper does not go on. Standard library only: sent to the bench host."""

from __future__ import annotations


class RefusedError(Exception):
    """The card must not or cannot be written; nothing was changed."""


class CardError(Exception):
    """The card failed; the message names the offset."""
