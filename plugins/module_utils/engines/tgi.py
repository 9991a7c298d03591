# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text Generation Inference: what its pinned version reads, serves and measures."""

from __future__ import annotations

from .contract import Contract

CONTRACT = Contract(
    title="TGI",
    version="3.3.7",
    flags={},
    ours={},
    removed={},
    environment=frozenset(),
    prefixes=(),
    keyed=('/v1/chat/completions', '/v1/completions', '/generate', '/generate_stream'),
    unkeyed=('/health', '/ping', '/info', '/metrics', '/v1/models', '/chat_tokenize', '/', '/docs'),
    several_keys=False,
    metrics=tuple(
        """tgi_queue_size tgi_batch_current_size""".split()
    ),
)
