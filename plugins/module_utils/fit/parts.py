# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment takes of one GPU."""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20


class Parts(NamedTuple):
    """Bytes on one GPU, by what they are for.

    Attributes:
        weights: the tensors that lie there.
        kv: keys and values of the context, for all slots.
        compute: buffers for intermediate results.
        context: what CUDA and its libraries take for a process, whatever the model.
        margin: kept free for what is not known exactly; each engine's table of constants says for what.
    """

    weights: int
    kv: int
    compute: int
    context: int
    margin: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self)
