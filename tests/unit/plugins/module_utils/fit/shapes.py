# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of published shapes, as files have them: config.json and safetensors as transformers writes them, and GGUF."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import gguf
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.model import Model, Tensor

# What the config.json of published repositories says.
CONFIGS = {
    "Llama-3.1-8B": {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
                     "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072},
    "Llama-3.1-70B": {"model_type": "llama", "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64,
                      "num_key_value_heads": 8, "intermediate_size": 28672, "vocab_size": 128256, "max_position_embeddings": 131072},
    "Llama-3.2-1B": {"model_type": "llama", "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32, "head_dim": 64,
                     "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256, "max_position_embeddings": 131072,
                     "tie_word_embeddings": True},
    "SmolLM2-135M": {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9,
                     "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192,
                     "tie_word_embeddings": True},
    "Mistral-7B": {"model_type": "mistral", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
                   "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32768, "max_position_embeddings": 32768,
                   "sliding_window": None},
    "Mixtral-8x7B": {"model_type": "mixtral", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
                     "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000, "max_position_embeddings": 32768,
                     "num_local_experts": 8, "num_experts_per_tok": 2},
    "Qwen2.5-0.5B": {"model_type": "qwen2", "num_hidden_layers": 24, "hidden_size": 896, "num_attention_heads": 14,
                     "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151936, "max_position_embeddings": 32768,
                     "sliding_window": 32768, "use_sliding_window": False, "tie_word_embeddings": True},
    "Qwen2.5-72B": {"model_type": "qwen2", "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64,
                    "num_key_value_heads": 8, "intermediate_size": 29568, "vocab_size": 152064, "max_position_embeddings": 32768},
    "Qwen3-8B": {"model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128,
                 "num_key_value_heads": 8, "intermediate_size": 12288, "vocab_size": 151936, "max_position_embeddings": 40960},
    "Qwen3-30B-A3B": {"model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32,
                      "head_dim": 128, "num_key_value_heads": 4, "intermediate_size": 6144, "moe_intermediate_size": 768,
                      "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936, "max_position_embeddings": 40960},
    "gemma-2-9b": {"model_type": "gemma2", "num_hidden_layers": 42, "hidden_size": 3584, "num_attention_heads": 16, "head_dim": 256,
                   "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 256000, "max_position_embeddings": 8192,
                   "sliding_window": 4096, "tie_word_embeddings": True},
    "gemma-3-4b": {"model_type": "gemma3", "text_config": {
        "model_type": "gemma3_text", "num_hidden_layers": 34, "hidden_size": 2560, "intermediate_size": 10240, "sliding_window": 1024},
        "vocab_size": 262208, "tie_word_embeddings": True},
    "Phi-3-mini": {"model_type": "phi3", "num_hidden_layers": 32, "hidden_size": 3072, "num_attention_heads": 32,
                   "num_key_value_heads": 32, "intermediate_size": 8192, "vocab_size": 32064, "max_position_embeddings": 131072,
                   "sliding_window": 262144},
    "gpt-oss-20b": {"model_type": "gpt_oss", "num_hidden_layers": 24, "hidden_size": 2880, "num_attention_heads": 64, "head_dim": 64,
                    "num_key_value_heads": 8, "intermediate_size": 2880, "num_local_experts": 32, "num_experts_per_tok": 4,
                    "vocab_size": 201088, "max_position_embeddings": 131072, "sliding_window": 128},
}  # fmt: skip


def checkpoint(name: str, layers: int | None = None) -> tuple[bytes, dict[str, tuple[str, tuple[int, ...]]]]:
    """The config.json, and types and shapes of all tensors, of a model of CONFIGS; with fewer layers, if wanted."""
    config = json.loads(json.dumps(CONFIGS[name]))
    text = config.get("text_config", config)
    text["num_hidden_layers"] = layers or text["num_hidden_layers"]
    kind, width, inner = config["model_type"], text["hidden_size"], text["intermediate_size"]
    heads, kv_heads = text.get("num_attention_heads", 8), text.get("num_key_value_heads", 4)
    head = text.get("head_dim") or (256 if kind == "gemma3" else width // heads)
    tensors = {"model.embed_tokens.weight": [config["vocab_size"], width], "model.norm.weight": [width]}
    if not config.get("tie_word_embeddings"):
        tensors["lm_head.weight"] = [config["vocab_size"], width]
    for layer in range(text["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        norms = ["input_layernorm", "post_attention_layernorm"]
        if kind in ("gemma2", "gemma3"):
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        tensors |= {f"{at}{norm}.weight": [width] for norm in norms}
        attention = {"q_proj": [heads * head, width], "k_proj": [kv_heads * head, width], "v_proj": [kv_heads * head, width],
                     "o_proj": [width, heads * head]}  # fmt: skip
        if kind == "phi3":
            attention = {"qkv_proj": [(heads + 2 * kv_heads) * head, width], "o_proj": [width, heads * head]}
        tensors |= {f"{at}self_attn.{part}.weight": shape for part, shape in attention.items()}
        if kind in ("qwen2", "gpt_oss"):
            biased = [part for part in attention if kind == "gpt_oss" or part != "o_proj"]
            tensors |= {f"{at}self_attn.{part}.bias": attention[part][:1] for part in biased}
        if kind in ("qwen3", "qwen3_moe", "gemma3"):
            tensors |= {f"{at}self_attn.q_norm.weight": [head], f"{at}self_attn.k_norm.weight": [head]}
        if kind == "mixtral":
            tensors[f"{at}block_sparse_moe.gate.weight"] = [8, width]
            for expert in range(8):
                for part, shape in {"w1": [inner, width], "w2": [width, inner], "w3": [inner, width]}.items():
                    tensors[f"{at}block_sparse_moe.experts.{expert}.{part}.weight"] = shape
        elif kind == "qwen3_moe":
            tensors[f"{at}mlp.gate.weight"] = [128, width]
            for expert in range(128):
                for part, shape in {"gate_proj": [768, width], "up_proj": [768, width], "down_proj": [width, 768]}.items():
                    tensors[f"{at}mlp.experts.{expert}.{part}.weight"] = shape
        elif kind == "gpt_oss":
            tensors |= {
                f"{at}self_attn.sinks": [heads], f"{at}mlp.router.weight": [32, width], f"{at}mlp.router.bias": [32],
                f"{at}mlp.experts.gate_up_proj_blocks": [32, 2 * inner, width // 32, 16],
                f"{at}mlp.experts.gate_up_proj_scales": [32, 2 * inner, width // 32],
                f"{at}mlp.experts.gate_up_proj_bias": [32, 2 * inner],
                f"{at}mlp.experts.down_proj_blocks": [32, width, inner // 32, 16],
                f"{at}mlp.experts.down_proj_scales": [32, width, inner // 32],
                f"{at}mlp.experts.down_proj_bias": [32, width],
            }  # fmt: skip
        else:
            dense = {"gate_up_proj": [2 * inner, width]} if kind == "phi3" else {"gate_proj": [inner, width], "up_proj": [inner, width]}
            tensors |= {f"{at}mlp.{part}.weight": shape for part, shape in {**dense, "down_proj": [width, inner]}.items()}
    if kind == "gemma3":
        tensors = {f"language_model.{tensor}": shape for tensor, shape in tensors.items()}
        tensors |= {"vision_tower.vision_model.embeddings.position_embedding.weight": [4096, 1152],
                    "multi_modal_projector.mm_input_projection_weight": [1152, width]}  # fmt: skip
    described = {tensor: ("U8" if tensor.endswith(("_blocks", "_scales")) else "BF16", tuple(shape)) for tensor, shape in tensors.items()}
    return json.dumps(config).encode(), described


def safetensors_header(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> tuple[bytes, int]:
    """The header of a safetensors file, and the size of the file in bytes."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + Tensor(name, shape, kind).size
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, 8 + len(text) + end


def gguf_header(values: dict[str, object], tensors: Iterable[Tensor], version: int = 3) -> tuple[bytes, int]:
    """The header of a GGUF file, and the size of the file in bytes. Values are ints, floats, bools, texts, or lists of one of them."""
    tensors = list(tensors)
    names = {kind: number for number, kind in gguf.KINDS.items()}
    data = bytearray(b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values)))
    for key, value in values.items():
        data += _text(key)
        if isinstance(value, list):
            data += struct.pack("<IIQ", 9, _kind(value[0]), len(value)) + b"".join(map(_value, value))
        else:
            data += struct.pack("<I", _kind(value)) + _value(value)
    end = 0
    for tensor in tensors:
        entry = (len(tensor.shape), *tensor.shape, names[tensor.kind], end % (1 << 64))
        data += _text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}QIQ", *entry)
        end += -(-tensor.size // 32) * 32
    data += bytes(-len(data) % 32)
    return bytes(data), len(data) + end


def gguf_values(model: Model, tokens: Sequence[str] = ("<s>", "a")) -> dict[str, object]:
    """What the converter writes of a model besides its tensors."""
    values = {
        "block_count": model.layers, "context_length": model.context, "embedding_length": model.embedding,
        "feed_forward_length": max(model.feed_forward), "attention.head_count": model.heads[0],
        "attention.head_count_kv": model.kv_heads[0], "attention.key_length": model.key_size,
        "attention.value_length": model.value_size, "attention.layer_norm_rms_epsilon": 1e-5,
    }  # fmt: skip
    if model.experts:
        values |= {"expert_count": model.experts, "expert_used_count": model.experts_used, "feed_forward_length": model.expert_feed_forward,
                   "expert_feed_forward_length": model.expert_feed_forward}  # fmt: skip
    if model.window:
        values["attention.sliding_window"] = model.window
    return {
        "general.architecture": model.architecture,
        **{f"{model.architecture}.{key}": value for key, value in values.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": [1] * len(tokens),
    }


def _kind(value: object) -> int:
    return {int: 4, float: 6, bool: 7, str: 8}[type(value)]


def _value(value: object) -> bytes:
    return _text(value) if isinstance(value, str) else struct.pack({int: "<I", float: "<f", bool: "<?"}[type(value)], value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def drive(parser, data: bytes):
    """What a parser makes of bytes, and how many of them it read; those behind them are zero."""
    read, answer = 0, None
    try:
        while True:
            wanted = parser.send(answer)
            answer = [(data[first : first + count]).ljust(count, b"\0") for first, count in wanted]
            read += sum(count for _, count in wanted)
    except StopIteration as end:
        return end.value, read


