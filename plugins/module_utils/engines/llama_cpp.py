# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""llama.cpp's llama-server: what its pinned version reads, serves and measures."""

from __future__ import annotations

from .contract import Contract

CONTRACT = Contract(
    title="llama.cpp",
    version="b11434",
    flags={},
    ours={},
    removed={},
    environment=frozenset(),
    prefixes=(),
    keyed=('/v1/models', '/v1/chat/completions', '/v1/completions', '/v1/embeddings'),
    unkeyed=('/health',),
    several_keys=True,
    metrics=tuple(
        """llamacpp:prompt_tokens_total llamacpp:prompt_seconds_total llamacpp:prompt_tokens_seconds
    llamacpp:tokens_predicted_total llamacpp:tokens_predicted_seconds_total llamacpp:predicted_tokens_seconds
    llamacpp:requests_processing llamacpp:requests_deferred llamacpp:n_decode_total""".split()
    ),
)
