# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The memory that llama-server takes of each GPU, by the rules of llama.cpp b11434 and the constants measured with it."""

from __future__ import annotations

import bisect
import itertools
from typing import NamedTuple

from .model import BLOCKS, Model, ModelError, Tensor
from .parts import Parts

MIB = 1 << 20
# llama.cpp pads contexts, and the caches of sliding layers, to so many tokens (src/llama-context.cpp, llama-kv-cache-iswa.cpp).
PAD = 256
# Rows of quantised matrices are read in steps of so many weights (ggml-cuda/common.cuh: MATRIX_ROW_PADDING).
ROW = 512


class Options(NamedTuple):
    """How llama-server is started, by the names of its options.

    Attributes:
        ctx: tokens of all slots together.
        np: slots.
        kv_unified: the slots share one cache of ctx tokens.
        ngl: layers on the GPU, the output counted as one; None for all.
        ctk, ctv: types of the cache's keys and values.
        fa: flash attention.
        ubatch: tokens computed at once.
        split_mode: ``layer``, or ``none`` for the first GPU alone.
        tensor_split: proportions of the GPUs; empty for those of their free memory.
    """

    ctx: int = 8192
    np: int = 1
    kv_unified: bool = False
    ngl: int | None = None
    ctk: str = "f16"
    ctv: str = "f16"
    fa: bool = True
    ubatch: int = 512
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()


def estimate(model: Model, options: Options, free: tuple[int, ...]) -> tuple[Parts, ...]:
    """What each GPU needs.

    Args:
        free: bytes free on each GPU; they decide how layers are split where the options do not.

    Raises:
        ModelError: the options are none that llama.cpp takes.
    """
    _check(options)
    places = _places(model, options, free)
    cells, sliding_cells = _cells(model, options)
    kinds = options.ctk.upper(), options.ctv.upper()
    return tuple(
        Parts(
            weights=sum(_weights(model, places, gpu)),
            kv=sum(_kv(model, layer, sliding_cells if model.sliding[layer] else cells, kinds) for layer in _layers(places, gpu)),
            compute=_compute(model, options, places, gpu),
            context=CONTEXT,
            margin=MARGIN,
        )
        for gpu in range(len(free))
    )


def _check(options: Options) -> None:
    for name in ("ctk", "ctv"):
        if getattr(options, name).upper() not in BLOCKS:
            raise ModelError(f"{name}: llama.cpp has no cache of the type {getattr(options, name)!r}; f16 and q8_0 are usual.")
    if not options.fa and options.ctv.upper() not in ("F32", "F16", "BF16"):
        raise ModelError("ctv: a quantised cache of values needs flash attention (src/llama-context.cpp): set fa to true or ctv to f16.")
    if options.split_mode not in ("layer", "none"):
        raise ModelError(f"split_mode: {options.split_mode!r} is not planned for; layer and none are.")


def _places(model: Model, options: Options, free: tuple[int, ...]) -> list[int | None]:
    """For each layer, and last the output, its GPU; None for the CPU (src/llama-model.cpp: load_tensors)."""
    shares = [1.0] if options.split_mode == "none" else list(options.tensor_split) or [float(size) for size in free]
    bounds = [total / sum(shares) for total in itertools.accumulate(shares)]
    layers = model.layers + 1
    there = layers if options.ngl is None else min(options.ngl, layers)
    return [
        None if layer < layers - there else min(bisect.bisect_right(bounds, (layer - layers + there) / there), len(bounds) - 1)
        for layer in range(layers)
    ]


def _cells(model: Model, options: Options) -> tuple[int, int]:
    """Tokens that the caches of a full and of a sliding layer hold, for all slots together."""
    streams = 1 if options.kv_unified else options.np
    each = _padded(_padded(options.ctx) // streams)
    seen = model.window * (options.np if options.kv_unified else 1) + min(options.ubatch, each)
    return streams * each, streams * _padded(min(each, seen))


def _padded(tokens: int) -> int:
    return -(-tokens // PAD) * PAD


def _kv(model: Model, layer: int, cells: int, kinds: tuple[str, str]) -> int:
    """Bytes of one layer's cache."""
    rows = (model.kv_heads[layer] * model.key_size, model.kv_heads[layer] * model.value_size)
    return sum(cells * row // BLOCKS[kind][1] * BLOCKS[kind][0] for row, kind in zip(rows, kinds, strict=True))


def _weights(model: Model, places: list[int | None], gpu: int) -> int:
    """Bytes of the tensors on a GPU. The input embedding stays with the CPU; one that is the output, too, is there twice."""
    total = 0
    for tensor in model.tensors:
        if tensor.name.startswith("blk."):
            here = places[int(tensor.name.split(".")[1])] == gpu
        else:
            output = tensor.name.startswith("output") or tensor.name == "token_embd.weight" and model.tied
            here = output and places[-1] == gpu or tensor.name.startswith("rope_") and gpu in places
        total += _allocated(tensor) if here else 0
    return total


def _allocated(tensor: Tensor) -> int:
    """Bytes that CUDA's buffers have for a tensor: quantised rows are filled up (ggml-cuda.cu: get_alloc_size)."""
    size, weights = BLOCKS[tensor.kind]
    missing = -tensor.shape[0] % ROW if weights > 1 else 0
    return tensor.size + missing // weights * size
