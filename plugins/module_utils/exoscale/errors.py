# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong with Exoscale."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError


class ExoscaleError(UserError):
    """Something at Exoscale, or the way to it, cannot be used.

    Attributes:
        transient: the same may well work a moment later. Where it was a write, it may have taken effect all the same.
    """

    def __init__(self, message: str, transient: bool = False):
        super().__init__(message)
        self.transient = transient


class Refusal(Exception):
    """A request that had no good answer; the client makes a sentence of it.

    Attributes:
        status: HTTP status; None where no answer came.
        said: what the API said, or what happened instead.
    """

    def __init__(self, status: int | None, said: str):
        super().__init__(said)
        self.status = status
        self.said = said

    @property
    def passing(self) -> bool:
        """Whether the same may well have an answer a moment later."""
        return self.status is None or self.status == 429 or self.status >= 500
