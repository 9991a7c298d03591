# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The memory that llama-server takes of each GPU: the rules of llama.cpp b11434, and constants measured with it.

The measurements are tests/fit/measured.csv, on H100 cards with CUDA 13; a test holds this arithmetic against them.
"""

from __future__ import annotations

import bisect
import itertools
from typing import NamedTuple

from .model import BLOCKS, Model, ModelError, Tensor
from .parts import MIB, Parts

# Measured. What a process takes of a card that holds no buffer of it: CUDA's context, cuBLAS' handle, kernels.
CONTEXT = 598 * MIB
# Measured. What CUDA's pool has after the first prompts, and how much more for each token of a ubatch.
POOL, POOL_PER_TOKEN = 10 * MIB, 11 << 10
# Measured. cuBLAS' workspace, once a matrix that is not quantised is multiplied (F16 models, routers of experts, attention without fa).
CUBLAS = 98 * MIB
# Not measured: how much more another card or CUDA than those may take. Fewer multiprocessors take less, so this is generous.
OTHER_CARD = 256 * MIB
# Copies of the inputs that pipelining over several GPUs holds (GGML_SCHED_MAX_COPIES).
COPIES = 4
# Measured: buffers of ubatch numbers of 4 bytes, as multiples of the model's widths; see _compute.
FEED_FORWARD, ATTENTION, ATTENTION_WITHOUT_FA, FIRST_OF_SEVERAL = 3, 4.5, 6, 9

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
        mmproj: bytes of the multimodal projector, which the first GPU has; what it computes an image with is not foreseen.
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
    mmproj: int = 0


def estimate(model: Model, options: Options, free: tuple[int, ...]) -> tuple[Parts, ...]:
    """What each GPU needs.

    Args:
        free: bytes free on each GPU; they decide how layers are split where the options do not.

    Raises:
        ModelError: the options are none that llama.cpp takes.
    """
    _check(options, len(free))
    places = _places(model, options, free)
    cells = _cells(model, options)
    kinds = options.ctk.upper(), options.ctv.upper()
    return tuple(
        Parts(
            weights=_weights(model, places, gpu) + (options.mmproj if gpu == 0 else 0),
            kv=sum(sum(_kv(model, layer, cells, kinds)) for layer, place in enumerate(places[:-1]) if place == gpu),
            compute=_compute(model, options, places, gpu, cells),
            context=CONTEXT,
            margin=OTHER_CARD,
        )
        for gpu in range(len(free))
    )


def _check(options: Options, gpus: int) -> None:
    if options.tensor_split and (len(options.tensor_split) != gpus or sum(options.tensor_split) <= 0 or min(options.tensor_split) < 0):
        raise ModelError(f"tensor_split: {options.tensor_split} must have a share for each of {gpus} GPUs, none below 0 and one above.")
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


class Cells(NamedTuple):
    """Tokens that one cache holds, in a full layer and in a sliding one; and how many such caches there are."""

    full: int
    sliding: int
    streams: int


def _cells(model: Model, options: Options) -> Cells:
    streams = 1 if options.kv_unified else options.np
    each = _padded(_padded(options.ctx) // streams)
    seen = model.window * (options.np if options.kv_unified else 1) + min(options.ubatch, each)
    return Cells(each, _padded(min(each, seen)), streams)


def _padded(tokens: int) -> int:
    return -(-tokens // PAD) * PAD


def _kv(model: Model, layer: int, cells: Cells, kinds: tuple[str, str]) -> tuple[int, int]:
    """Bytes of one layer's keys and values in all streams."""
    tokens = cells.streams * (cells.sliding if model.sliding[layer] else cells.full)
    sizes = (model.key_size, model.value_size)
    keys, values = (
        tokens * model.kv_heads[layer] * size // BLOCKS[kind][1] * BLOCKS[kind][0] for size, kind in zip(sizes, kinds, strict=True)
    )
    return keys, values


def _compute(model: Model, options: Options, places: list[int | None], gpu: int, cells: Cells) -> int:
    """Bytes of the compute buffer and of the pool beside it.

    The buffer holds what lives at the same time at the worst moment of a graph of ubatch tokens: in the feed-forward part or in
    the attention, beside the residual stream, the inputs and the masks.
    """
    offloaded = None in places and gpu == 0  # the first GPU computes the prompts of layers in main memory, too
    if gpu not in places and not offloaded:
        return 0
    tokens = min(options.ubatch, options.ctx)
    unit = 4 * tokens
    width = max(model.embedding, max(model.heads) * model.key_size)
    several = len({place for place in places if place is not None}) > 1
    pipelined = several and None not in places
    # A mask has an entry for each token and each cell of a stream.
    masks = tokens * (2 if options.fa else 4) * (cells.full + (cells.sliding if any(model.sliding) else 0))
    inputs = (COPIES if pipelined else 1) * (masks + unit * model.embedding)
    # The results of gate and up, and their product.
    inner = FEED_FORWARD * max(*model.feed_forward, model.experts_used * model.expert_feed_forward)
    feed_forward = unit * (inner + FEED_FORWARD * model.embedding)
    if model.experts_used:  # each expert's result, twice, before they are added
        feed_forward = max(feed_forward, unit * (2 * model.experts_used + 4) * model.embedding)
    if options.fa:
        attention = int(unit * ATTENTION * width)
    else:
        scores = unit * max(model.heads) * cells.full
        attention = unit * ATTENTION_WITHOUT_FA * width + scores
    # A quantised cache is copied as f16 for flash attention, a layer at a time; one in main memory is brought to the GPU.
    copies = [
        size
        for layer in range(model.layers)
        for size, kind in zip(_kv(model, layer, cells, ("F16", "F16")), (options.ctk, options.ctv), strict=True)
        if options.fa and BLOCKS[kind.upper()][1] > 1 or offloaded and places[layer] is None
    ]
    if copies:
        attention += 2 * max(copies)
    if offloaded:  # matrices in main memory are brought, too, one at a time
        feed_forward += max(_allocated(tensor) for tensor in model.tensors if _is_on_cpu(tensor, places))
    buffer = inputs + max(feed_forward, attention) + (FIRST_OF_SEVERAL * unit * model.embedding if pipelined and gpu == 0 else 0)
    return buffer + _pool(model, options, tokens, cells)


def _pool(model: Model, options: Options, tokens: int, cells: Cells) -> int:
    """Bytes that CUDA's pool and cuBLAS have after the first prompts."""
    plain = any(len(tensor.shape) > 1 and BLOCKS[tensor.kind][1] == 1 and tensor.name.startswith("blk.") for tensor in model.tensors)
    total = POOL + POOL_PER_TOKEN * tokens + (CUBLAS if plain or not options.fa else 0)
    if not options.fa:  # the scores again, as f16
        total += 2 * tokens * max(model.heads) * cells.full
    return total


def _is_on_cpu(tensor: Tensor, places: list[int | None]) -> bool:
    return tensor.name.startswith("blk.") and places[int(tensor.name.split(".")[1])] is None


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
