# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast a model can answer at best: each token takes the weights and its context's keys and values through the GPU's memory bus once."""

from __future__ import annotations

from collections.abc import Callable

from .model import Model, Tensor

# Bytes per second by the makers' data sheets (NVIDIA A40: 696 GB/s).
BANDWIDTH = {"A40": 696e9}


def read_weights(model: Model, size: Callable[[Tensor], int]) -> float:
    """Bytes of weights that a token takes: of the experts those used, of the input embedding one row, which is not counted.

    Args:
        size: bytes of a tensor as the engine holds it.
    """
    total = 0.0
    for tensor in model.tensors:
        if tensor.name == "token_embd.weight" and not model.tied:
            continue
        used = model.experts_used / model.experts if "_exps." in tensor.name and model.experts else 1
        total += size(tensor) * used
    return total


def read_cache(model: Model, tokens: float, key: float, value: float) -> float:
    """Bytes of keys and values of so many tokens of context; key and value are the bytes of a number of each."""
    return sum(
        heads * (model.key_size * key + model.value_size * value) * (min(tokens, model.window) if sliding and model.window else tokens)
        for heads, sliding in zip(model.kv_heads, model.sliding, strict=True)
    )


def bound(gpu: str, size: float, at_once: int = 1) -> float | None:
    """Tokens per second of one request at most, where a token reads so many bytes; None for a card of unknown bandwidth.

    Args:
        at_once: GPUs that read their parts at the same time (tensor-parallel); those of a split by layers read one after another.
    """
    return BANDWIDTH[gpu] * at_once / size if gpu in BANDWIDTH else None
