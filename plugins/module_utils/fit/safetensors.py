# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read models of safetensors files and config.json, and foresee the GGUF file that llama.cpp (build b11434) makes of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Iterable
from typing import Any

from .gguf import LAYERS, TENSORS, Range, slides
from .model import BLOCKS, Model, ModelError, Tensor, is_whole

# Type and shape (the contiguous dimension last) of tensors by their names.
Shapes = dict[str, tuple[str, tuple[int, ...]]]

# Bytes to read of a file at first, which often is its whole header; and of a header at most.
FIRST, LARGEST = 1 << 15, 1 << 23

# What GGUF calls the architecture of a model_type.
ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "mistral3": "mistral3", "qwen2": "qwen2", "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe", "gemma2": "gemma2", "gemma3": "gemma3", "gemma3_text": "gemma3", "phi3": "phi3", "gpt_oss": "gpt-oss",
}  # fmt: skip
# What transformers assumes where the config.json of a Gemma 3 is silent (Gemma3TextConfig).
_GEMMA3 = {
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072, "sliding_window": 4096
}  # fmt: skip
# Names of a layer's modules in GGUF (gguf-py/gguf/tensor_mapping.py).
_MODULES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "post_attention_layernorm": "ffn_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp", "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps", "block_sparse_moe.experts.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.w2": "ffn_down_exps", "block_sparse_moe.experts.w3": "ffn_up_exps",
}  # fmt: skip
_TOP = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
_NAME = re.compile(
    r"(?:model\.|language_model\.)*(?:layers\.(?P<layer>\d{1,4})\.(?P<module>.+)|(?P<top>embed_tokens|norm|lm_head))\.(?P<part>\w+)"
)
_EXPERT = re.compile(r"(.+\.experts)\.\d{1,5}(\..+)")
# All experts in one tensor, as gpt-oss has them.
_EXPERTS = re.compile(r"mlp\.experts\.(?P<which>gate_up|down)_proj(?P<part>_blocks|_scales|_bias|)")
# What the converter leaves out: image encoders, which become files of their own, and what engines compute anew.
_LEFT_OUT = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\..+|.+\.rotary_emb\.inv_freq")

# Quantisations that the converter makes by itself.
_CONVERTED = ("F32", "F16", "BF16", "Q8_0")
# Types that take the place of others where rows are no multiple of 256 (tensor_type_fallback in src/llama-quant.cpp).
_FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}


def parse(size: int) -> Generator[list[Range], list[bytes], Shapes]:
    """The header of a file of so many bytes; a generator that yields the ranges it wants, and is sent their bytes.

    Raises:
        ModelError: what is wrong, without the file's name.
    """
    [data] = yield [(0, min(size, FIRST))]
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > size - 8:
        raise ModelError("It is no safetensors file, or was not downloaded to its end.")
    if length > LARGEST:
        raise ModelError(f"Its header has {length} bytes, where at most {LARGEST} are read.")
    if 8 + length > len(data):
        [rest] = yield [(len(data), 8 + length - len(data))]
        data += rest
    shapes: Shapes = {}
    for name, entry in _json(data[8 : 8 + length], "Its header").items():
        if name == "__metadata__":
            continue
        match entry:
            case {"dtype": str() as dtype, "shape": list() as shape, "data_offsets": [int() as start, int() as end]}:
                if dtype not in BLOCKS or BLOCKS[dtype][1] != 1:
                    raise ModelError(f"Its tensor {name!r:.80} is of the type {dtype!r:.40}, which is not known.")
                if len(shape) > 8 or any(not is_whole(one) or not 0 <= one < 1 << 40 for one in shape):
                    raise ModelError(f"Its tensor {name!r:.80} has a shape that is not possible.")
                if not 0 <= start <= end <= size - 8 - length or end - start != math.prod(shape) * BLOCKS[dtype][0]:
                    raise ModelError(f"Its tensor {name!r:.80} is not in the file: it is damaged, or was not downloaded to its end.")
                shapes[name] = dtype, tuple(shape)
            case _:
                raise ModelError(f"Its header does not describe the tensor {name!r:.80}.")
    return shapes


def model(config: bytes, files: Iterable[Shapes]) -> Model:
    """The model of a config.json and all of its files. Its tensors are those of the files, but named, and experts joined, as in GGUF.

    Tensors that llama.cpp knows no name for keep theirs.

    Raises:
        ModelError: what is wrong.
    """
    given = _json(config, "config.json")
    kind = given.get("model_type")
    architecture = ARCHITECTURES.get(kind) if isinstance(kind, str) else None
    if not architecture:
        raise ModelError(f"config.json is of the model_type {kind!r:.40}; only {', '.join(ARCHITECTURES)} can be planned yet.")
    text = given.get("text_config") or given
    if not isinstance(text, dict):
        raise ModelError("config.json has a text_config that is no object.")
    if architecture == "gemma3":
        text = _GEMMA3 | text

    def number(*names: str, default: int | None = None, least: int = 1) -> int:
        value = next((text[name] for name in names if text.get(name) is not None), default)
        if value is None:
            raise ModelError(f"config.json has no {names[0]}.")
        if not is_whole(value) or not least <= value < 1 << 31:
            raise ModelError(f"config.json says {names[0]}: {value!s:.40}, which is not possible.")
        return value

    layers, embedding, heads = number("num_hidden_layers"), number("hidden_size"), number("num_attention_heads")
    if layers > LAYERS:
        raise ModelError(f"config.json says {layers} layers, where {LAYERS} are possible.")
    head = number("head_dim", default=embedding // heads)
    experts = number("num_local_experts", "num_experts", default=0, least=0)
    width = number("intermediate_size")
    tensors = _tensors(files, architecture, layers, embedding, experts)
    names = {tensor.name: tensor for tensor in tensors}
    missing = [layer for layer in range(layers) if f"blk.{layer}.attn_norm.weight" not in names]
    table = names.get("token_embd.weight")
    if missing or table is None or len(table.shape) != 2 or not table.shape[1]:
        where = f"layer {missing[0]}" if missing else "the embedding"
        raise ModelError(f"Its files have no tensors for {where}, of which config.json speaks. Are all of them there?")
    window = text.get("sliding_window")
    if architecture == "gemma3" and text.get("sliding_window_pattern") == 1:
        window = None
    window, sliding = slides(architecture, layers, window)
    return Model(
        architecture=architecture,
        layers=layers,
        embedding=embedding,
        heads=(heads,) * layers,
        kv_heads=(number("num_key_value_heads", default=heads),) * layers,
        key_size=head,
        value_size=head,
        feed_forward=tuple(width if f"blk.{layer}.ffn_down.weight" in names else 0 for layer in range(layers)),
        experts=experts,
        experts_used=number("num_experts_per_tok", "experts_per_token") if experts else 0,
        expert_feed_forward=number("moe_intermediate_size", default=width) if experts else 0,
        vocabulary=table.shape[1],
        context=number("max_position_embeddings"),
        window=window,
        sliding=sliding,
        quantisation=_quantisation(given, text),
        tensors=tensors,
    )


def _quantisation(*configs: dict) -> str:
    """The method of quantisation that one of these parts of config.json names."""
    sections = (config.get(name) for config in configs for name in ("quantization_config", "compression_config"))
    methods = (section.get("quant_method") for section in sections if isinstance(section, dict))
    return next((method.lower() for method in methods if isinstance(method, str)), "")


def as_gguf(model: Model, quant: str) -> Model:
    """What convert_hf_to_gguf.py and llama-quantize make of a model of safetensors files.

    Without the few hundred bytes of rope factors that the converter computes, and with all rows of Gemma 3's embedding,
    of which it leaves out those (0.03 %) that are no token's.

    Args:
        quant: one of weights.MAKES.

    Raises:
        ModelError: they cannot make it.
    """
    converted = quant if quant in _CONVERTED else "BF16"
    tensors = []
    for tensor in model.tensors:
        if _LEFT_OUT.fullmatch(tensor.name) or tensor.name == "output.weight" and model.architecture == "gemma2":
            continue
        if not re.match(r"(blk\.\d+|token_embd|output|output_norm)\.", tensor.name):
            raise ModelError(f"llama.cpp's converter knows no tensor like {tensor.name!r:.80}.")
        if tensor.kind not in ("F64", "F32", "F16", "BF16", "MXFP4"):
            raise ModelError(f"No GGUF file can be made of tensors of the type {tensor.kind}, as {tensor.name!r:.80} is.")
        if tensor.kind != "MXFP4":
            tensor = tensor._replace(kind=_fitting(converted, tensor) if _quantises(tensor) else "F32")
        elif quant not in _CONVERTED:
            raise ModelError(f"llama-quantize makes no {quant} of a model in MXFP4, which only {', '.join(_CONVERTED)} leave as it is.")
        tensors.append(tensor)
    if quant not in _CONVERTED:
        tensors = _quantised(model, tensors, quant)
    return model._replace(quantisation="", tensors=tuple(tensors))


def _quantised(model: Model, tensors: list[Tensor], quant: str) -> list[Tensor]:
    """What llama-quantize makes of tensors without an importance matrix (llama_tensor_get_type_impl in src/llama-quant.cpp)."""
    base = re.sub(r"_[SML]$", "", quant)
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    sharing = model.heads[0] // model.kv_heads[0]
    octet = model.experts == 8
    is_70b = model.layers == 80 and (model.architecture == "qwen2" or model.architecture == "llama" and sharing > 1)
    values = sum("attn_v.weight" in tensor.name or "attn_qkv.weight" in tensor.name for tensor in tensors)

    def more(layer: int, layers: int) -> bool:
        return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2

    def kind(tensor: Tensor) -> str:
        if tensor.name == "output.weight" or tied and tensor.name == "token_embd.weight":
            return "Q8_0" if tensor.shape[0] % BLOCKS[base][1] else "Q6_K"
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name)
        if not match:
            return base
        layer, part = int(match[1]), match[2]
        if part in ("attn_v", "attn_qkv"):
            found = base
            if quant == "Q2_K":
                found = "Q4_K" if sharing >= 4 else "Q3_K"
            elif quant == "Q3_K_M":
                found = "Q5_K" if layer < 2 else "Q4_K"
            elif quant == "Q3_K_L" or quant == "Q4_K_S" and layer < 4 or quant in ("IQ4_NL", "IQ4_XS") and sharing >= 4:
                found = "Q5_K"
            elif quant in ("Q4_K_M", "Q5_K_M") and more(layer, values):
                found = "Q6_K"
            if is_70b and found in ("Q3_K", "Q4_K"):
                found = "Q5_K"
            return "Q8_0" if octet else found
        if part == "attn_k" and octet:
            return "Q8_0"
        if part in ("ffn_down", "ffn_down_exps"):
            first = layer < model.layers // 8
            if quant == "Q2_K":
                return "Q3_K"
            if quant == "Q3_K_M":
                return "Q5_K" if layer < model.layers // 16 else "Q4_K"
            if quant == "Q3_K_L" or first and quant in ("IQ4_NL", "IQ4_XS", "Q4_K_S"):
                return "Q5_K"
            if quant in ("Q4_K_M", "Q5_K_M") and more(layer, model.layers):
                return "Q6_K"
        if part == "attn_output":
            if octet:
                return "Q5_K" if quant in ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ4_XS") else base
            return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(quant, base)
        return base

    return [
        tensor._replace(kind=_fitting(kind(tensor), tensor)) if _quantises(tensor) else tensor for tensor in tensors
    ]


def _quantises(tensor: Tensor) -> bool:
    """Whether the converter and llama-quantize write a tensor in another type than F32."""
    return len(tensor.shape) > 1 and tensor.name.endswith(".weight") and not re.search(r"_norm\.|ffn_gate_inp\.", tensor.name)


def _fitting(kind: str, tensor: Tensor) -> str:
    """The type, or what takes its place for rows of this length."""
    for one in (kind, _FALLBACKS.get(kind, kind)):
        if tensor.shape[0] % BLOCKS[one][1] == 0:
            return one
    return "F16"


def _tensors(files: Iterable[Shapes], architecture: str, layers: int, embedding: int, experts: int) -> tuple[Tensor, ...]:
    """Tensors as GGUF names and joins them."""
    tensors: dict[str, Tensor] = {}
    counts: dict[str, int] = {}  # of experts that are to be joined
    for shapes in files:
        for original, (dtype, shape) in shapes.items():
            for tensor, single in _translated(original, dtype, shape, architecture, layers, embedding):
                if single:
                    counts[tensor.name] = counts.get(tensor.name, 0) + 1
                if tensors.setdefault(tensor.name, tensor) != tensor or not single and tensor.name in counts:
                    raise ModelError(f"Its tensors {tensor.name!r:.80} differ in type or shape.")
    for name, count in counts.items():
        if count != experts:
            raise ModelError(f"Its files have {count} experts for {name}, where config.json speaks of {experts}.")
        tensors[name] = tensors[name]._replace(shape=(*tensors[name].shape, count))
    if len(tensors) > TENSORS:
        raise ModelError(f"Its files have {len(tensors)} tensors, where {TENSORS} are possible.")
    return tuple(tensors.values())


def _translated(
    original: str, dtype: str, shape: tuple[int, ...], architecture: str, layers: int, embedding: int
) -> list[tuple[Tensor, bool]]:
    """What GGUF has for a tensor, and whether it is that of a single expert."""
    as_it_is = [(Tensor(original, shape[::-1], dtype), False)]
    match = _NAME.fullmatch(original)
    if not match:
        return as_it_is
    if match["top"]:
        return [(Tensor(f"{_TOP[match['top']]}.{match['part']}", shape[::-1], dtype), False)]
    block, module = f"blk.{int(match['layer'])}", match["module"]
    if int(match["layer"]) >= layers:
        return as_it_is
    whole = f"{module}.{match['part']}"
    if whole == "self_attn.sinks":
        return [(Tensor(f"{block}.attn_sinks.weight", shape[::-1], dtype), False)]
    if joined := _EXPERTS.fullmatch(whole):
        return [(tensor, False) for tensor in _joined(block, joined["which"], joined["part"], dtype, shape, embedding)]
    expert = _EXPERT.fullmatch(module)
    name = _MODULES.get(expert[1] + expert[2] if expert else module)
    if name == "ffn_norm" and module == "post_attention_layernorm" and architecture in ("gemma2", "gemma3", "gpt-oss"):
        name = "post_attention_norm"
    if not name:
        return as_it_is
    return [(Tensor(f"{block}.{name}.{match['part']}", shape[::-1], dtype), bool(expert))]


def _joined(block: str, which: str, part: str, dtype: str, shape: tuple[int, ...], embedding: int) -> list[Tensor]:
    """The tensors for those that have all experts: MXFP4's blocks and scales become one, gate and up become two."""
    if part == "_scales":
        return []  # in the blocks' sizes
    names = [f"{block}.ffn_{name}_exps" for name in (("gate", "up") if which == "gate_up" else ("down",))]
    if part == "_bias" and len(shape) == 2:
        return [Tensor(f"{name}.bias", (shape[1] // len(names), shape[0]), dtype) for name in names]
    if part == "_blocks" and len(shape) == 4 and shape[3] == 16 and dtype == "U8":
        return [Tensor(f"{name}.weight", (shape[2] * 32, shape[1] // len(names), shape[0]), "MXFP4") for name in names]
    if part == "" and len(shape) == 3 and embedding in shape[1:]:
        inner = shape[1] * shape[2] // embedding // len(names)
        sides = (inner, embedding) if which == "down" else (embedding, inner)
        return [Tensor(f"{name}.weight", (*sides, shape[0]), dtype) for name in names]
    raise ModelError(f"Its experts in {block} have a shape or type that is not known.")


def _json(data: bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelError(f"{what} is no JSON object.")
    return content
