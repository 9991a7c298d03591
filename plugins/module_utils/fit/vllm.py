# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM takes of each GPU, by its own rules of start and profiling (0.31, engine V1, read and not measured)."""

from __future__ import annotations

import math
from typing import NamedTuple

from . import shards
from .model import Model
from .parts import MIB, Parts
from .shards import Refusal, in_words

# Share of the card that it takes, by default (vllm/config/cache.py: gpu_memory_utilization).
UTILIZATION = 0.92
# Tokens of a block of the cache (vllm/config/cache.py: DEFAULT_BLOCK_SIZE).
BLOCK = 16
# Tokens of a step and requests of a batch on cards below 70 GiB, for the server (vllm/engine/arg_utils.py: get_batch_defaults).
BATCHED_TOKENS, SEQUENCES = 2048, 256
# Bytes for each request and token of the vocabulary while sampling by top-k and top-p: logits in 16 and in 32 bits, sorted in
# 32 with their places in 64, probabilities and their sums in 32 (reckoned from vllm/v1/sample/ops/topk_topp_sampler.py).
SAMPLING = 2 + 4 + 4 + 8 + 4 + 4
# Bytes of a number in the cache, by the names of kv_cache_dtype.
CACHE = {"auto": 2, "float16": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
# Quantisations made while loading, by vLLM's names (vllm/config/quantization.py: _ONLINE_SHORTHANDS). Those that an A40 (8.6) cannot
# compute are not here: fp8_per_channel, nvfp4_per_token. Those of 8 and 4 bits are of the weights alone there, by Marlin. fp8 is the
# former name of the first (vllm/model_executor/model_loader/weight_utils.py: get_quant_config).
ON_LOAD = {"fp8_per_tensor": "fp8", "fp8_per_block": "fp8", "fp8": "fp8", "mxfp8": "mxfp8", "mxfp4": "mxfp4"}
# Those in the files, with what config.json calls what vLLM reads under these names (vllm/model_executor/layers/quantization).
# fp_quant is missing for the A40's sake, and fbgemm_fp8 as vLLM refuses it by now.
IN_FILES = {
    "awq": ("awq",), "auto_awq": ("awq",), "awq_marlin": ("awq",),
    "gptq": ("gptq",), "auto_gptq": ("gptq",), "gptq_marlin": ("gptq",),
    "moe_wna16": ("awq", "gptq"), "compressed-tensors": ("compressed-tensors",), "fp8": ("fp8",), "inc": ("auto-round", "inc"),
    "modelopt": ("modelopt",), "modelopt_fp4": ("modelopt", "modelopt_fp4"), "modelopt_mixed": ("modelopt", "modelopt_mixed"),
    "modelopt_mxfp8": ("modelopt", "modelopt_mxfp8"), "mxfp4": ("mxfp4",), "mxfp8": ("mxfp8",), "quark": ("quark",),
    "torchao": ("torchao",),
}  # fmt: skip
# What no source says and nobody measured here, in bytes on each GPU; beside shards.NCCL.
MARGIN = {
    "CUDA context, cuBLAS and kernels": 800 * MIB,
    "CUDA graphs": 1024 * MIB,
    "rounding and fragments of PyTorch's allocator": 512 * MIB,
}


class Options(NamedTuple):
    """As the server calls them.

    Attributes:
        max_model_len: tokens of a request; the model's context by default.
        max_num_seqs: requests that are to be served at once, each of max_model_len. By default one must fit, others wait.
        max_num_batched_tokens: of a step.
        tensor_parallel_size: GPUs that share the model; all by default.
        gpu_memory_utilization: of the card; UTILIZATION of the share that the deployment has by default.
        kv_cache_dtype: see CACHE.
        quantization: see ON_LOAD and IN_FILES.
    """

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    tensor_parallel_size: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str = "auto"
    quantization: str | None = None


def estimate(model: Model, options: Options, free: tuple[int, ...], card: int = 0) -> tuple[Parts, ...]:
    """Bytes on each GPU; arguments as for tgi.estimate.

    Raises:
        Refusal: vLLM would not start with these options.
    """
    gpus = shards.shards("vLLM", "tensor_parallel_size", options.tensor_parallel_size, len(free))
    heads = max(1, *model.kv_heads)
    if any(count % gpus for count in model.heads) or heads % gpus and gpus % heads:
        raise Refusal(
            f"vLLM cannot share {max(model.heads)} attention heads, {heads} of keys and values, between {gpus} GPUs: "
            "set tensor_parallel_size to a divisor."
        )
    shards.check_quantisation(model, "vLLM", "quantization", options.quantization, ON_LOAD, IN_FILES)
    if options.kv_cache_dtype not in CACHE:
        raise Refusal(f"kv_cache_dtype {options.kv_cache_dtype!r} is not planned for: set it to one of {', '.join(CACHE)}.")
    context = options.max_model_len or model.context
    if context > model.context:
        raise Refusal(
            f"vLLM does not start with max_model_len {context}, since the model was made for {model.context} tokens: "
            f"set it to {model.context} at most."
        )
    tokens = options.max_num_batched_tokens or BATCHED_TOKENS
    width = max(*model.feed_forward, model.expert_feed_forward * model.experts_used)
    weights = shards.weights(model, gpus, ON_LOAD.get(options.quantization or ""))
    # The widest point of a layer (gate and up as one, their product, residual, input, normalised input), and a sampled batch.
    compute = math.ceil(2 * tokens * (3 * width / gpus + 3 * model.embedding))
    compute += (options.max_num_seqs or SEQUENCES) * model.vocabulary * SAMPLING
    parts = []
    for bytes_free in free[:gpus]:
        whole = card or bytes_free
        wanted = (options.gpu_memory_utilization or UTILIZATION * bytes_free / whole) * whole
        if wanted > bytes_free:
            raise Refusal(
                f"vLLM does not start, since gpu_memory_utilization {wanted / whole:g} is {in_words(wanted)} of the card, "
                f"and the deployment has {in_words(bytes_free)}: "
                f"set it to {math.floor(UTILIZATION * bytes_free / whole * 100) / 100:g}."
            )
        parts.append(
            Parts(
                weights=weights,
                kv=(options.max_num_seqs or 1) * _cache(model, context, tokens, gpus, CACHE[options.kv_cache_dtype]),
                compute=compute,
                context=math.ceil(bytes_free - wanted),
                margin=sum(shards.margin(MARGIN, gpus).values()),
            )
        )
    return tuple(parts) + (Parts(0, 0, 0, 0, 0),) * (len(free) - gpus)


def _cache(model: Model, context: int, tokens: int, gpus: int, size: int) -> int:
    """Bytes of a request of full length on a GPU. A sliding layer keeps its window and a step's tokens (vllm/v1/kv_cache_interface.py)."""
    total = 0
    for heads, sliding in zip(model.kv_heads, model.sliding, strict=True):
        blocks = math.ceil(context / BLOCK)
        if sliding and model.window:
            blocks = min(blocks, math.ceil((model.window - 1 + tokens) / BLOCK) + 1)
        total += blocks * BLOCK * math.ceil(heads / gpus) * (model.key_size + model.value_size) * size
    return total
