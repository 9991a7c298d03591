# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM's OpenAI server: what its pinned version reads, serves and measures."""

from __future__ import annotations

from .contract import Contract

CONTRACT = Contract(
    title="vLLM",
    version="v0.31.0",
    flags={},
    ours={},
    removed={},
    environment=frozenset(),
    prefixes=(),
    keyed=('/v1/models', '/v1/chat/completions', '/v1/completions', '/v1/embeddings'),
    unkeyed=('/health', '/metrics', '/load', '/tokenize'),
    several_keys=False,
    metrics=tuple(
        """vllm:num_requests_running vllm:num_requests_waiting""".split()
    ),
)
