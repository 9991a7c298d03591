# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the memory of a model depends on: its tensors and hyper-parameters, whatever file they were read from."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..errors import UserError

# Bytes of a block, and weights in it, by the type's name in GGUF files (ggml/src/ggml-common.h, ggml.c: type_traits), or
# in safetensors files where GGUF has no such type (the last line).
BLOCKS = {
    "F32": (4, 1), "F16": (2, 1), "BF16": (2, 1), "F64": (8, 1), "I8": (1, 1), "I16": (2, 1), "I32": (4, 1), "I64": (8, 1),
    "Q4_0": (18, 32), "Q4_1": (20, 32), "Q5_0": (22, 32), "Q5_1": (24, 32), "Q8_0": (34, 32), "Q8_1": (36, 32),
    "Q2_K": (84, 256), "Q3_K": (110, 256), "Q4_K": (144, 256), "Q5_K": (176, 256), "Q6_K": (210, 256), "Q8_K": (292, 256),
    "IQ1_S": (50, 256), "IQ1_M": (56, 256), "IQ2_XXS": (66, 256), "IQ2_XS": (74, 256), "IQ2_S": (82, 256), "IQ3_XXS": (98, 256),
    "IQ3_S": (110, 256), "IQ4_NL": (18, 32), "IQ4_XS": (136, 256), "TQ1_0": (54, 256), "TQ2_0": (66, 256), "MXFP4": (17, 32),
    "NVFP4": (36, 64), "Q1_0": (18, 128), "Q2_0": (18, 64),
    "BOOL": (1, 1), "U8": (1, 1), "U16": (2, 1), "U32": (4, 1), "U64": (8, 1), "F8_E4M3": (1, 1), "F8_E5M2": (1, 1), "F8_E8M0": (1, 1),
}  # fmt: skip


class ModelError(UserError):
    """A file that describes no model that can be planned with, as a sentence."""


def is_whole(value: object) -> bool:
    """Whether what a file has is a whole number; JSON's true is none."""
    return isinstance(value, int) and not isinstance(value, bool)


class Tensor(NamedTuple):
    """One tensor.

    Attributes:
        name: in GGUF's manner (``blk.0.attn_q.weight``).
        shape: as GGUF writes it, the contiguous dimension first.
        kind: a name in BLOCKS.
    """

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def weights(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of its data."""
        size, weights = BLOCKS[self.kind]
        return self.weights // weights * size


class Model(NamedTuple):
    """One model. Numbers that may differ between layers are tuples with an entry for each layer.

    Attributes:
        architecture: as GGUF names it (``llama``, ``gemma2``, ``qwen3moe``).
        layers: repeating layers.
        embedding: width of the residual stream.
        heads, kv_heads: attention heads, and those of keys and values; 0 where a layer has no attention of this kind.
        key_size, value_size: of one head.
        feed_forward: inner width of the dense feed-forward part; 0 where a layer has none.
        experts, experts_used, expert_feed_forward: of a mixture of experts; 0 for dense models.
        vocabulary: tokens.
        context: tokens that it was trained for.
        window: tokens that a sliding layer sees; 0 where there is none.
        sliding: whether a layer is a sliding one.
        quantisation: what config.json says that the weights are published in (``awq``, ``fp8``); empty where it says nothing, and for GGUF.
        tensors: of all files.
    """

    architecture: str
    layers: int
    embedding: int
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    key_size: int
    value_size: int
    feed_forward: tuple[int, ...]
    experts: int
    experts_used: int
    expert_feed_forward: int
    vocabulary: int
    context: int
    window: int
    sliding: tuple[bool, ...]
    quantisation: str
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def tied(self) -> bool:
        """Whether the input embedding is the output, too."""
        return not any(tensor.name == "output.weight" for tensor in self.tensors)
