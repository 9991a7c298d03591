# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository of safetensors that any converter takes: a Llama of 1.3 million random weights, always the same bytes.

What it says is words of its vocabulary, without sense.
"""
from __future__ import annotations

import json
import random
import struct
from math import prod

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS = 256, 512, 2, 4, 2  # K-quants take rows of 256 weights
WORDS = """the a one two model token batch queue cache layer node pod graph probe shard metric trace alert rule scale quick slow
    red green blue is was has and or with from into over under near far""".split()
# Piece and type of SentencePiece: 1 normal, 2 unknown, 3 control, 6 byte.
PIECES = [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((f"<0x{byte:02X}>", 6) for byte in range(256)),
          *((f"\u2581{word}", 1) for word in WORDS)]
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "vocab_size": len(PIECES),
    "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "bos_token_id": 1,
    "eos_token_id": 2, "tie_word_embeddings": False,
}


def files() -> dict[str, bytes]:
    """The repository's files by name."""
    return {"config.json": json.dumps(CONFIG, indent=2).encode(), "model.safetensors": _weights(),
            "tokenizer.model": _tokenizer()}


def _weights() -> bytes:
    rng = random.Random(7)

    def weights(shape: tuple[int, ...], high: int) -> bytes:
        """bfloat16 of either sign; their high byte is otherwise `high`: 0x3C sizes of 2^-7 to 2^-5, 0x3E 2^-3 to 2^-1."""
        data = bytearray(rng.randbytes(2 * prod(shape)))
        data[1::2] = bytes(byte & 0x80 | high for byte in data[1::2])
        return bytes(data)

    keys = HIDDEN * KV_HEADS // HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (len(PIECES), HIDDEN)}
    for layer in range(LAYERS):
        of = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (keys, HIDDEN), "self_attn.v_proj": (keys, HIDDEN),
              "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
              "mlp.down_proj": (HIDDEN, INNER), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in of.items()}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (len(PIECES), HIDDEN)}

    header, body = {}, b""
    for name, shape in shapes.items():
        data = b"\x80\x3f" * HIDDEN if "norm" in name else weights(shape, 0x3C)  # norms are 1
        if name == "lm_head.weight":  # only words are said
            data = bytes(2 * HIDDEN * (len(PIECES) - len(WORDS))) + weights((len(WORDS), HIDDEN), 0x3E)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (len(body), len(body) + len(data))}
        body += data
    return safetensors(header, body)


def safetensors(header: dict, tensors: bytes) -> bytes:
    """A file of that format."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def _tokenizer() -> bytes:
    """SentencePiece's ModelProto (sentencepiece_model.proto), written as protobuf writes it."""
    def field(number: int, value: int | float | bytes) -> bytes:
        if isinstance(value, float):
            return _varint(number << 3 | 5) + struct.pack("<f", value)
        if isinstance(value, int):
            return _varint(number << 3) + _varint(value)
        return _varint(number << 3 | 2) + _varint(len(value)) + value

    pieces = (field(1, text.encode()) + field(2, -float(rank)) + field(3, kind) for rank, (text, kind) in enumerate(PIECES))
    trainer = field(3, 2) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2)  # BPE, byte_fallback, unk, bos, eos
    normalizer = field(1, b"identity")
    return b"".join(field(1, piece) for piece in pieces) + field(2, trainer) + field(3, normalizer)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
