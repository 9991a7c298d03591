# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an engine's log says of its GPUs and of its end, as the pinned versions of the engines print it."""

from __future__ import annotations

import re

# llama.cpp, src/llama-model.cpp; at the level trace, which llama-server prints from `--verbosity 4` on.
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
# llama.cpp, common/arg.cpp and ggml/src/ggml-cuda/ggml-cuda.cu.
_NO_GPU = re.compile(r"no usable GPU found|ggml_cuda_init: failed to initialize CUDA")
_OUT_OF_GPU_MEMORY = re.compile(
    "|".join(
        (
            r"cudaMalloc failed: out of memory",  # llama.cpp, while it loads
            r"unable to allocate CUDA\d* buffer",
            r"CUDA error: out of memory",  # llama.cpp, while it answers
            r"CUDA out of memory",  # PyTorch, in TGI and vLLM
            r"Not enough memory to handle",  # TGI, server/text_generation_server/models/flash_causal_lm.py and backends/v3/src/lib.rs
            r"No available memory for the cache blocks",  # vLLM, v1/core/kv_cache_utils.py
            r"KV cache is needed, which is larger than the available KV cache memory",
            r"Free memory on device .* is less than desired GPU memory utilization",  # vLLM, v1/worker/utils.py
        )
    )
)
_ERROR = re.compile(
    r"error\b|fatal|panic|exception:|unexpected argument|what\(\):|GGML_ASSERT|^[\d.]+ E ", re.IGNORECASE | re.MULTILINE
)
# Errors that only say that there was one.
_HOLLOW = re.compile(
    r"exiting due to|failed to load model|see root cause above|shard complete standard error|shardcannotstart"
    r"|shard \d+ (failed to start|crashed)|webserver ?(failed|crashed)",
    re.IGNORECASE,
)


def offloaded(text: str) -> tuple[int, int] | None:
    """Layers on the GPU, and layers in all, of the model that llama.cpp loaded; None where the log does not say."""
    found = _OFFLOADED.findall(text)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def off_gpu(text: str, wanted: str = "all") -> str:
    """The line by which llama.cpp says that fewer layers are on a GPU than wanted; empty where it says nothing of the kind.

    Args:
        wanted: a number of layers, or ``all``.
    """
    if found := offloaded(text):
        on_gpu, layers = found
        enough = min(int(wanted), layers) if wanted.isdigit() else layers
        return _last(_OFFLOADED, text) if on_gpu < enough else ""
    return "" if wanted == "0" else _last(_NO_GPU, text)


def out_of_gpu_memory(text: str) -> str:
    """The first line that says that the memory of the GPU ran out; empty where none does."""
    return next((line.strip() for line in text.splitlines() if _OUT_OF_GPU_MEMORY.search(line)), "")


def last_error(text: str) -> str:
    """The engine's own error line: the last one that says more than that there was an error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    telling = [line for line in errors if not _HOLLOW.search(line)]
    return next((found[-1] for found in (telling, errors, lines) if found), "")


def _last(pattern: re.Pattern, text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if pattern.search(line)), "")
