# SPDX-License-Identifier: GPL-3.0-or-later
"""Published models, written out from their hyper-parameters."""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import model as fit_model
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.safetensors import as_gguf


def shape(layers, embedding, heads, kv_heads, width, vocabulary, head=128, experts=(0, 0), tied=False, context=131072, window=0):
    """A model of safetensors files in BF16; every second layer slides where there is a window."""
    tensors = [("token_embd", embedding, vocabulary), ("output_norm", embedding)]
    if not tied:
        tensors.append(("output", embedding, vocabulary))
    each = [
        ("attn_norm", embedding), ("ffn_norm", embedding), ("attn_q", embedding, heads * head), ("attn_k", embedding, kv_heads * head),
        ("attn_v", embedding, kv_heads * head), ("attn_output", heads * head, embedding),
    ]  # fmt: skip
    if experts[0]:
        each += [("ffn_gate_inp", embedding, experts[0])]
        each += [(f"ffn_{name}_exps", embedding, width, experts[0]) for name in ("gate", "up")]
        each += [("ffn_down_exps", width, embedding, experts[0])]
    else:
        each += [("ffn_gate", embedding, width), ("ffn_up", embedding, width), ("ffn_down", width, embedding)]
    tensors += [(f"blk.{layer}.{name}", *sides) for layer in range(layers) for name, *sides in each]
    return fit_model.Model(
        architecture="qwen3moe" if experts[0] else "gemma2" if window else "llama",
        layers=layers,
        embedding=embedding,
        heads=(heads,) * layers,
        kv_heads=(kv_heads,) * layers,
        key_size=head,
        value_size=head,
        feed_forward=(0 if experts[0] else width,) * layers,
        experts=experts[0],
        experts_used=experts[1],
        expert_feed_forward=width if experts[0] else 0,
        vocabulary=vocabulary,
        context=context,
        window=window,
        sliding=tuple(bool(window) and layer % 2 == 0 for layer in range(layers)),
        tensors=tuple(fit_model.Tensor(f"{name}.weight", tuple(sides), "BF16") for name, *sides in tensors),
    )


@pytest.fixture(scope="session")
def models():
    """Models by name."""
    return {
        "1B": shape(16, 2048, 32, 8, 8192, 128256, head=64, tied=True),
        "8B": shape(32, 4096, 32, 8, 14336, 128256),
        "70B": shape(80, 8192, 64, 8, 28672, 128256),
        "30B-A3B": shape(48, 2048, 32, 4, 768, 151936, experts=(128, 8), context=40960),
        "gemma-9B": shape(42, 3584, 16, 8, 14336, 256000, head=256, tied=True, context=8192, window=4096),
    }


@pytest.fixture(scope="session")
def quantised(models):
    """The GGUF form of one of them."""
    return lambda name, quant: as_gguf(models[name], quant)
