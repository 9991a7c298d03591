# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files of published shapes without their weights: python tests/fit/models.py DIR [NAME:QUANT ...].

A file has the metadata and the tensor table that llama.cpp's converter and quantiser give the model; its tensor data is a
hole of a sparse file, so it reads as zeros and takes some MB of disk for the vocabulary. A server loads it like the real
file and takes the same memory.
"""
from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

ALIGNMENT = 32
# type -> (its number in GGUF, weights per block, bytes per block): ggml/include/ggml.h and ggml/src/ggml-common.h
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "MXFP4": (39, 32, 17)}
QUANTS = ("F16", "Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "MXFP4")


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters of a model, named as in GGUF's metadata where it has a name for them.

    Args:
        source: the repository on the Hub whose config.json says so.
        window: positions that sliding-window layers see; 0 without such layers.
        metadata: further keys of the architecture.
    """

    source: str
    arch: str
    layers: int
    embedding: int
    feed_forward: int
    heads: int
    heads_kv: int
    head: int
    vocabulary: int
    context: int
    tied: bool = False
    experts: int = 0
    experts_used: int = 0
    window: int = 0
    epsilon: float = 1e-5
    rope_base: float = 10000.0
    metadata: dict[str, int | float | str] = field(default_factory=dict)


SHAPES = {
    "llama-3.1-8b": Shape("meta-llama/Llama-3.1-8B", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 131072, rope_base=500000.0),
    "llama-3.1-70b": Shape("meta-llama/Llama-3.1-70B", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 131072, rope_base=500000.0),
    "llama-3.2-1b": Shape("meta-llama/Llama-3.2-1B", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, tied=True,
                          rope_base=500000.0),
    "mistral-7b-v0.3": Shape("mistralai/Mistral-7B-v0.3", "llama", 32, 4096, 14336, 32, 8, 128, 32768, 32768, rope_base=1000000.0),
    "mixtral-8x7b": Shape("mistralai/Mixtral-8x7B-v0.1", "llama", 32, 4096, 14336, 32, 8, 128, 32000, 32768, experts=8,
                          experts_used=2, rope_base=1000000.0),
    "qwen2.5-7b": Shape("Qwen/Qwen2.5-7B-Instruct", "qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 32768, epsilon=1e-6,
                        rope_base=1000000.0),
    "qwen3-0.6b": Shape("Qwen/Qwen3-0.6B", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 40960, tied=True, epsilon=1e-6,
                        rope_base=1000000.0),
    "qwen3-30b-a3b": Shape("Qwen/Qwen3-30B-A3B", "qwen3moe", 48, 2048, 768, 32, 4, 128, 151936, 40960, experts=128,
                           experts_used=8, epsilon=1e-6, rope_base=1000000.0),
    "gemma-2-9b": Shape("google/gemma-2-9b", "gemma2", 42, 3584, 14336, 16, 8, 256, 256000, 8192, tied=True, window=4096,
                        epsilon=1e-6, metadata={"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}),
    # The converter drops the 64 rows of the embedding that stand for images.
    "gemma-3-4b": Shape("google/gemma-3-4b-it", "gemma3", 34, 2560, 10240, 8, 4, 256, 262144, 131072, tied=True, window=1024,
                        epsilon=1e-6, rope_base=1000000.0, metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
    "gemma-3-12b": Shape("google/gemma-3-12b-it", "gemma3", 48, 3840, 15360, 16, 8, 256, 262144, 131072, tied=True, window=1024,
                         epsilon=1e-6, rope_base=1000000.0, metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
    # llama.cpp reads the window and does not use it.
    "phi-3-mini-4k": Shape("microsoft/Phi-3-mini-4k-instruct", "phi3", 32, 3072, 8192, 32, 32, 96, 32064, 4096, window=2047),
    "gpt-oss-20b": Shape("openai/gpt-oss-20b", "gpt-oss", 24, 2880, 2880, 64, 8, 64, 201088, 131072, experts=32, experts_used=4,
                         window=128, rope_base=150000.0, metadata={"rope.scaling.type": "yarn", "rope.scaling.factor": 32.0,
                                                                   "rope.scaling.original_context_length": 4096}),
}
# What python tests/fit/measure.py runs
MODELS = ("llama-3.1-8b:Q4_K_M", "llama-3.1-8b:F16", "llama-3.1-8b:Q8_0", "llama-3.1-70b:Q4_K_M", "llama-3.2-1b:Q4_0",
          "llama-3.2-1b:F16", "mistral-7b-v0.3:Q6_K", "mixtral-8x7b:Q4_K_M", "qwen2.5-7b:Q4_K_M", "qwen3-0.6b:Q8_0",
          "qwen3-30b-a3b:Q4_K_M", "gemma-2-9b:Q4_K_M", "gemma-3-4b:Q4_0", "gemma-3-12b:Q4_K_M", "phi-3-mini-4k:Q4_K_M",
          "gpt-oss-20b:MXFP4")


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and dimensions (the contiguous one first) in llama.cpp's src/models/*.cpp, a layer's after the layer before."""
    width, queries, keys = shape.embedding, shape.heads * shape.head, shape.heads_kv * shape.head
    yield "token_embd.weight", (width, shape.vocabulary)
    yield "output_norm.weight", (width,)
    if not shape.tied:
        yield "output.weight", (width, shape.vocabulary)
    if shape.arch == "llama" and shape.vocabulary == SHAPES["llama-3.1-8b"].vocabulary:  # Llama 3.1's scaling of RoPE
        yield "rope_freqs.weight", (shape.head // 2,)
    for layer in range(shape.layers):
        for name, dimensions in _layer(shape, width, queries, keys):
            yield f"blk.{layer}.{name}", dimensions


def _layer(shape: Shape, width: int, queries: int, keys: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "attn_norm.weight", (width,)
    if shape.arch == "phi3":
        yield "attn_qkv.weight", (width, queries + 2 * keys)
    else:
        for name, rows in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
            yield f"{name}.weight", (width, rows)
            if shape.arch in ("qwen2", "gpt-oss"):
                yield f"{name}.bias", (rows,)
    yield "attn_output.weight", (queries, width)
    if shape.arch in ("qwen3", "qwen3moe", "gemma3"):
        yield "attn_q_norm.weight", (shape.head,)
        yield "attn_k_norm.weight", (shape.head,)
    if shape.arch in ("gemma2", "gemma3", "gpt-oss"):
        yield "post_attention_norm.weight", (width,)
    if shape.arch in ("gemma2", "gemma3"):
        yield "post_ffw_norm.weight", (width,)
    if shape.arch == "gpt-oss":
        yield "attn_output.bias", (width,)
        yield "attn_sinks.weight", (shape.heads,)
    else:
        yield "ffn_norm.weight", (width,)
    inner = shape.feed_forward
    if shape.experts:
        yield "ffn_gate_inp.weight", (width, shape.experts)
        if shape.arch == "gpt-oss":
            yield "ffn_gate_inp.bias", (shape.experts,)
        for name, columns, rows in (("ffn_gate_exps", width, inner), ("ffn_down_exps", inner, width), ("ffn_up_exps", width, inner)):
            yield f"{name}.weight", (columns, rows, shape.experts)
            if shape.arch == "gpt-oss":
                yield f"{name}.bias", (rows, shape.experts)
    elif shape.arch == "phi3":  # gate and up in one
        yield "ffn_up.weight", (width, 2 * inner)
        yield "ffn_down.weight", (inner, width)
    else:
        yield "ffn_gate.weight", (width, inner)
        yield "ffn_up.weight", (width, inner)
        yield "ffn_down.weight", (inner, width)


def tensor_type(shape: Shape, quant: str, name: str) -> str:
    """The type that llama-quantize (src/llama-quant.cpp) gives a tensor, without an importance matrix."""
    if not name.endswith(".weight") or "norm" in name or any(part in name for part in ("rope_freqs", "ffn_gate_inp", "attn_sinks")):
        return "F32"
    if quant == "MXFP4":
        return "MXFP4" if "_exps" in name else "Q8_0"
    if quant in ("F16", "Q8_0", "Q6_K"):
        return quant
    if name == "output.weight" or (shape.tied and name == "token_embd.weight"):
        return "Q6_K"
    if quant == "Q4_0" or name == "token_embd.weight":
        return "Q4_0" if quant == "Q4_0" else "Q4_K"
    _, layer, part = name.split(".")[:3]
    eighth = shape.layers // 8
    more = int(layer) < eighth or int(layer) >= 7 * shape.layers // 8 or (int(layer) - eighth) % 3 == 2
    if shape.experts == 8 and part in ("attn_k", "attn_v"):
        return "Q8_0"
    if part in ("attn_v", "attn_qkv", "ffn_down", "ffn_down_exps") and more:
        return "Q6_K"
    if part == "attn_v" and shape.layers == 80 or part == "attn_output" and shape.experts == 8:
        return "Q5_K"
    return "Q4_K"


def metadata(shape: Shape) -> dict[str, object]:
    """GGUF's key-value pairs: str, int (uint32), float (float32), lists of one of these or of bytes (strings)."""
    keys: dict[str, object] = {
        "context_length": shape.context, "embedding_length": shape.embedding, "block_count": shape.layers,
        "feed_forward_length": shape.feed_forward, "attention.head_count": shape.heads, "attention.head_count_kv": shape.heads_kv,
        "attention.key_length": shape.head, "attention.value_length": shape.head, "rope.dimension_count": shape.head,
        "rope.freq_base": shape.rope_base, "attention.layer_norm_rms_epsilon": shape.epsilon, **shape.metadata}
    if shape.window:
        keys["attention.sliding_window"] = shape.window
    if shape.experts:
        keys |= {"expert_count": shape.experts, "expert_used_count": shape.experts_used,
                 "expert_feed_forward_length": shape.feed_forward}
    # The tokeniser is not the model's: text becomes bytes, prompts of a test are token numbers.
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]  # unknown, control, byte
    dummies = range(len(tokens), shape.vocabulary)
    # No general.name: llama.cpp would look for Phi-3's own tokens in a model of that name.
    return {"general.architecture": shape.arch, "general.alignment": ALIGNMENT,
            **{f"{shape.arch}.{key}": value for key, value in keys.items()},
            "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens + [b"<token %d>" % number for number in dummies],
            "tokenizer.ggml.scores": [0.0] * shape.vocabulary, "tokenizer.ggml.token_type": kinds + [1] * len(dummies),
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0}


def _string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def _value(value: object) -> bytes:
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value[0], bytes):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))
    number, code = (6, "f") if isinstance(value[0], float) else (5, "i")
    return struct.pack("<IIQ", 9, number, len(value)) + struct.pack(f"<{len(value)}{code}", *value)


def write(path: Path, shape: Shape, quant: str) -> int:
    """Write the file; returns the bytes of its tensors."""
    table, offset, size = [], 0, 0
    for name, dimensions in tensors(shape):
        number, block, width = TYPES[tensor_type(shape, quant, name)]
        table.append(_string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, number, offset))
        if dimensions[0] % block:
            raise ValueError(f"{path.name}: {name} has rows of {dimensions[0]} weights, {quant} needs multiples of {block}")
        length = prod(dimensions) // block * width
        size += length
        offset += -(-length // ALIGNMENT) * ALIGNMENT
    pairs = metadata(shape)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(table), len(pairs)) + b"".join(
        _string(key) + _value(value) for key, value in pairs.items()) + b"".join(table)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(-(-len(head) // ALIGNMENT) * ALIGNMENT + offset)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("models", nargs="*", metavar="NAME:QUANT", default=MODELS, help=f"{', '.join(SHAPES)}; {', '.join(QUANTS)}")
    parser.add_argument("--layers", type=int, help="fewer layers than published, to try on a small machine that a file loads")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    for model in options.models:
        name, _, quant = model.partition(":")
        if name not in SHAPES or quant not in QUANTS:
            parser.error(f"{model}: no such model; NAME:QUANT is one of {', '.join(SHAPES)} and one of {', '.join(QUANTS)}")
        shape = replace(SHAPES[name], layers=options.layers) if options.layers else SHAPES[name]
        size = write(options.directory / f"{name}-{quant}.gguf", shape, quant)
        print(f"{name}-{quant}.gguf: {size / 1e9:.3f} GB of tensors", flush=True)


if __name__ == "__main__":
    main()
