# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Text Generation Inference takes of each GPU, by its own rules of start and warm-up (3.3.7, read and not measured)."""

from __future__ import annotations

import math
from typing import NamedTuple

from . import shards
from .model import Model
from .parts import MIB, Parts
from .shards import Refusal, in_words

# Share of its memory that is counted on for the cache; the rest has CUDA graphs and fragments (server: models/globals.py, TGI_WIGGLE_ROOM).
WIGGLE = 0.90
# Tokens of a block of the cache (models/globals.py): of FlashInfer, and of FlashDecoding for heads of other sizes than
# these (launcher/src/main.rs: resolve_attention).
BLOCK, OTHER_BLOCK, FLASHINFER_HEADS = 1, 256, (64, 128, 256)
# FlashInfer's workspace (layers/attention/flashinfer.py: get_workspace).
WORKSPACE = 128 * MIB
# Operations per second of an A40 by which the launcher chooses how many tokens to prefill at once, and its choice where that
# says too little (launcher/src/main.rs: f16_flop, compute_optimal). That it may choose fewer for want of memory is left out.
FLOP, PREFILL = 149e12, (100, 4096)
# Quantisations made while loading, by TGI's names; the others are in the files (launcher/src/main.rs: Quantization).
ON_LOAD = {
    "eetq": "eetq",
    "fp8": "fp8",
    "bitsandbytes": "bitsandbytes-8bit",
    "bitsandbytes-nf4": "bitsandbytes-4bit",
    "bitsandbytes-fp4": "bitsandbytes-4bit",
}
# Those in the files, with what config.json calls what TGI reads under these names (server: utils/quantization.py, layers/gptq).
IN_FILES = {
    "awq": ("awq",),
    "compressed-tensors": ("compressed-tensors",),
    "exl2": ("exl2",),
    "fp8": ("fp8", "fbgemm_fp8"),
    "gptq": ("gptq", "awq"),
    "marlin": ("gptq", "marlin"),
}
# What no source says and nobody measured here, in bytes on each GPU; beside shards.NCCL.
MARGIN = {
    "CUDA context, cuBLAS and kernels": 800 * MIB,
    "rounding and fragments of PyTorch's allocator": 512 * MIB,
}


class Options(NamedTuple):
    """As the launcher calls them.

    Attributes:
        max_total_tokens: of a request; the model's context by default.
        max_concurrent_requests: that are to be served at once, each of max_total_tokens. 1 by default: others wait.
        max_batch_prefill_tokens: as the launcher would choose by default.
        num_shard: GPUs that share the model; all by default.
        quantize: see ON_LOAD and IN_FILES.
        cuda_memory_fraction: of the card; the share that the deployment has by default.
    """

    max_total_tokens: int | None = None
    max_concurrent_requests: int | None = None
    max_batch_prefill_tokens: int | None = None
    num_shard: int | None = None
    quantize: str | None = None
    cuda_memory_fraction: float | None = None


def estimate(model: Model, options: Options, free: tuple[int, ...], card: int = 0) -> tuple[Parts, ...]:
    """Bytes on each GPU.

    Args:
        free: bytes that the deployment has of each GPU.
        card: bytes of a whole card; 0 where what is free of each is all there is.

    Raises:
        Refusal: TGI would not start with these options.
    """
    gpus = shards.shards("TGI", "num_shard", options.num_shard, len(free))
    heads = max(1, *model.kv_heads)
    if any(count % gpus for count in model.heads) or heads < gpus and heads > 1:
        raise Refusal(
            f"TGI cannot share {max(model.heads)} attention heads, {heads} of keys and values, between {gpus} GPUs: "
            "set num_shard to a divisor."
        )
    quantize = options.quantize
    shards.check_quantisation(model, "TGI", "quantize", quantize, ON_LOAD, IN_FILES)
    if model.quantisation == "marlin" and not quantize:  # the only one that TGI does not take from config.json (models/__init__.py)
        raise Refusal("The weights are quantised as marlin, which TGI must be told: set quantize to marlin.")
    if gpus > 1 and "exl2" in (quantize, model.quantisation):
        raise Refusal(f"TGI does not share a model quantised as exl2 between {gpus} GPUs: give it one, or choose other weights.")
    context = max(2, options.max_total_tokens or model.context)
    requests = options.max_concurrent_requests or 1
    prefill = options.max_batch_prefill_tokens or prefill_tokens(model, gpus)
    size = max(model.key_size, model.value_size)
    block = BLOCK if size in FLASHINFER_HEADS else OTHER_BLOCK
    # The last token of a request is never fed back, so that it needs no place (backends/v3/src/queue.rs).
    request = math.ceil((context - 1) / block)
    blocks = max(requests * request, math.ceil(context / block))
    # The warm-up makes room for prompts of so many tokens in all, each as the beginning of a request of full length (backends/client).
    warm = max(1, math.ceil(prefill / (context - 1))) * request
    cache = block * model.layers * 2 * size * max(heads // gpus, 1) * 2
    weights = shards.weights(model, gpus, ON_LOAD.get(quantize or ""), output_copied=True)
    parts = []
    for bytes_free in free[:gpus]:
        whole = card or bytes_free
        fraction = options.cuda_memory_fraction or bytes_free / whole
        own = fraction * whole
        if own > bytes_free * 1.001:  # of a rounded fraction
            raise Refusal(
                f"cuda_memory_fraction {fraction:g} is {in_words(own)} of the card, and the deployment has {in_words(bytes_free)}: "
                f"set it to {math.floor(bytes_free / whole * 100) / 100:g}."
            )
        # TGI takes what is free on the card for what is free of its share (import_utils.py: get_cuda_free_memory). Where the
        # neighbours hold theirs, that leaves less than its share or nothing, and the cache stays as the warm-up made it.
        left = bytes_free if blocks <= warm else whole
        parts.append(
            Parts(
                weights=weights,
                kv=blocks * cache,
                compute=_compute(model, prefill, gpus),
                context=math.ceil(left - WIGGLE * own),
                margin=sum(shards.margin(MARGIN, gpus).values()),
            )
        )
    return tuple(parts) + (Parts(0, 0, 0, 0, 0),) * (len(free) - gpus)


def prefill_tokens(model: Model, gpus: int) -> int:
    """Tokens that the launcher chooses to prefill at once (launcher/src/main.rs: compute_optimal)."""
    heads, keys = max(model.heads), max(model.kv_heads)
    feed_forward = max(model.feed_forward) or model.expert_feed_forward * model.experts_used
    operations = 2 * model.key_size * model.embedding * (3 * heads + 2 * keys) + 6 * model.embedding * feed_forward
    least, usual = PREFILL
    optimal = int(FLOP * gpus / (operations * model.layers))
    return min(optimal if optimal > least else usual, model.context)


def _compute(model: Model, tokens: int, gpus: int) -> int:
    """Bytes that the warm-up's prefill leaves with PyTorch: the widest point of a layer, and logits of all tokens, as it asks for those.

    Gate and up as one, the activated gate, and its product with up (flash_llama_modeling.py: LlamaMLP), beside residual, input
    and normalised input; logits of all GPUs beside a GPU's own (layers/tensor_parallel.py: TensorParallelHead).
    """
    width = max(*model.feed_forward, model.expert_feed_forward * model.experts_used)
    layer = 4 * width / gpus + 3 * model.embedding
    logits = model.vocabulary * (1 + (1 / gpus if gpus > 1 else 0))
    return WORKSPACE + math.ceil(2 * tokens * (layer + logits))
