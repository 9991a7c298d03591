# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What engines print about themselves."""

from __future__ import annotations

import re

_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")


def offloaded(text: str) -> tuple[int, int] | None:
    """Layers on the GPU and layers in all, by llama.cpp's log; None where it does not say."""
    found = _OFFLOADED.findall(text)
    return (int(found[-1][0]), int(found[-1][1])) if found else None
