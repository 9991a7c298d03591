# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the engines for safetensors, TGI and vLLM, hold of a model on each GPU of a tensor-parallel group."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from ..errors import UserError
from .model import Model, Tensor
from .parts import MIB

GIB = 2**30
# Weights that the file holds as numbers, which are held in 16 bits whatever their type there.
_NUMBERS = frozenset({"F64", "F32", "F16", "BF16"})
# Bytes of so many weights of a layer's matrices where they are quantised while they are loaded, by the engines' names. 4 bits
# and their scales: one of 8 bits for 64 weights, and one of 32 for 256 of those (bitsandbytes: compress_statistics).
ON_LOAD = {"eetq": (1, 1), "fp8": (1, 1), "mxfp8": (33, 32), "mxfp4": (17, 32), "bitsandbytes-8bit": (1, 1), "bitsandbytes-4bit": (34, 64)}
# As published under a name of its own: 4 bits, with a scale and a zero for 128 weights or fewer (AWQ, GPTQ). This is an upper bound.
FOUR_BITS = "Q4_0"
# Of several GPUs that share a model, in bytes on each; neither read nor measured.
NCCL = {"NCCL buffers": 512 * MIB}


class Refusal(UserError):
    """The engine would not start, or not serve what was asked, however much memory there is; as a sentence."""


def in_words(size: float) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"


def shards(engine: str, option: str, wanted: int | None, gpus: int) -> int:
    """GPUs that share the model: those wanted, else all.

    Raises:
        Refusal: there are fewer.
    """
    if (wanted or gpus) > gpus:
        raise Refusal(f"{engine} wants {wanted} GPUs ({option}), and has {gpus}.")
    return wanted or gpus


def margin(table: dict[str, int], gpus: int) -> dict[str, int]:
    """Bytes on each GPU for what was never measured, by what it is; table is the engine's."""
    return table | (NCCL if gpus > 1 else {})


def is_matrix(tensor: Tensor) -> bool:
    """Whether it is a matrix of a layer, which is what quantisation takes hold of; routers of experts are left alone."""
    return tensor.name.startswith("blk.") and len(tensor.shape) > 1 and "ffn_gate_inp" not in tensor.name


def check_quantisation(
    model: Model, engine: str, option: str, wanted: str | None, on_load: Collection[str], reads: Mapping[str, Collection[str]]
) -> None:
    """Whether the engine can quantise the weights as wanted, or reads the quantisation that they have.

    Args:
        on_load: names of quantisations that it makes of weights that have none.
        reads: what config.json may call those of weights that have one, by the engine's own names.

    Raises:
        Refusal: it cannot.
    """
    published = model.quantisation
    making = f"{engine} makes {', '.join(on_load)} of weights that have none"
    if wanted and wanted not in on_load and wanted not in reads:
        raise Refusal(f"{engine} has no quantisation {wanted!r}: set {option} to one of {', '.join(sorted({*on_load, *reads}))}.")
    if not published:
        # Older repositories say it in a file of their own; their packed weights are whole numbers.
        if wanted in reads and wanted not in on_load and all(tensor.kind != "I32" for tensor in model.tensors):
            raise Refusal(f"{option} is {wanted}, and the weights are not quantised: choose a repository where they are. {making}.")
        return
    able = [name for name, methods in reads.items() if published in methods]
    if not able:
        raise Refusal(f"The weights are quantised as {published}, which {engine} does not read: choose another repository. {making}.")
    if wanted and wanted not in able:
        raise Refusal(f"{option} is {wanted}, and the weights are quantised as {published} already: remove it, or set it to {able[0]}.")


def held(tensor: Tensor, quantisation: str | None = None) -> int:
    """Bytes of a tensor in GPU memory; quantisation is one of ON_LOAD."""
    if tensor.kind not in _NUMBERS:
        return tensor.size
    size, weights = ON_LOAD[quantisation] if quantisation and is_matrix(tensor) else (2, 1)
    return math.ceil(tensor.weights / weights) * size


def weights(model: Model, gpus: int, quantisation: str | None = None, output_copied: bool = False) -> int:
    """Bytes of weights on each GPU. Vectors and routers are on all of them, and keys and values are cut no further than by head.

    Args:
        output_copied: whether a tied output is a copy of the embedding.
    """
    total = 0
    heads = max(1, *model.kv_heads)
    for tensor in model.tensors:
        size = held(tensor, quantisation)
        if not is_matrix(tensor) and tensor.name not in ("token_embd.weight", "output.weight"):
            parts = 1
        else:
            parts = min(gpus, heads) if ".attn_k." in tensor.name or ".attn_v." in tensor.name else gpus
        copies = 2 if output_copied and tensor.name == "token_embd.weight" and model.tied else 1
        total += copies * math.ceil(size / parts)
    return total


def four_bits(model: Model) -> Model:
    """The same model published with the matrices of its layers in 4 bits."""
    return model._replace(
        quantisation="awq",
        tensors=tuple(
            tensor._replace(kind=FOUR_BITS) if is_matrix(tensor) and tensor.kind in _NUMBERS else tensor for tensor in model.tensors
        )
    )
