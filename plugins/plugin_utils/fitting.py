# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether deployments fit their GPU shares, in the terms of their inventories."""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from typing import Any

from ansible_collections.selfhosted.llm.plugins.module_utils import gpu, hub, model_fit
from ansible_collections.selfhosted.llm.plugins.module_utils.weights import Weights
from ansible_collections.selfhosted.llm.plugins.plugin_utils import models

CACHE = os.path.expanduser("~/.cache/selfhosted-llm")
# Additional arguments and environment variables of llama-server that change what it takes, by the option of fit.llama_cpp.
LLAMA_CPP = {
    "ubatch": ("-ub", "--ubatch-size", "LLAMA_ARG_UBATCH"),
    "tensor_split": ("-ts", "--tensor-split", "LLAMA_ARG_TENSOR_SPLIT"),
    "split_mode": ("-sm", "--split-mode", "LLAMA_ARG_SPLIT_MODE"),
    "kv_unified": ("LLAMA_ARG_KV_UNIFIED",),
}
UNIFIED = {"-kvu": True, "--kv-unified": True, "-no-kvu": False, "--no-kv-unified": False}
# What proposals and sentences speak of, as the inventory calls it.
VARIABLES = {
    "model": "llm_model",
    "max_total_tokens": "llm_context",
    "np": "llm_slots",
    "max_concurrent_requests": "llm_slots",
    "ngl": "llama_cpp_gpu_layers",
    "quantize": "tgi_quantize",
    "max_model_len": "llm_context",
    "max_num_seqs": "llm_slots",
    "max_num_batched_tokens": "vllm_max_num_batched_tokens",
    "quantization": "vllm_quantization",
    "kv_cache_dtype": "vllm_kv_cache_dtype",
    "gpu_memory_utilization": "vllm_gpu_memory_utilization",
}
# Those that cannot be mistaken for words of a sentence.
_OPTION = re.compile(rf"\b({'|'.join(name for name in VARIABLES if len(name) > 5)})\b")


def judge(wanted: list[models.Wanted], found: dict[str, models.Found], pools: list[dict]) -> dict[str, dict]:
    """What model_fit returns of each deployment that was found, with proposals as lines of an inventory.

    Args:
        pools: the platform's, as gpu.pool_record makes them.
    """
    groups: dict[model_fit.Source, list[models.Wanted]] = defaultdict(list)
    for model in wanted:
        if model.host in found:
            groups[model_fit.Source(model.question.endpoint, model.question.token, CACHE)].append(model)
    judged = {}
    for source, mine in groups.items():
        asked = {model.host: _asked(model, found[model.host].weights) for model in mine}
        snapshots: dict[hub.Question, Any] = {source.question(one): found[host].snapshot for host, one in asked.items()}
        entries = model_fit.judge_all([one._asdict() for one in asked.values()], source, snapshots)
        for model, entry in zip(mine, entries, strict=True):
            proposals = [
                {"what": proposal["what"], "change": _in_variables(proposal["change"], model.values, pools), "verdict": proposal["verdict"]}
                for proposal in entry["proposals"]
            ]
            message = _OPTION.sub(lambda option: VARIABLES[option[1]], entry["message"])
            judged[model.host] = entry | {"message": message, "proposals": proposals}
    return judged


def _asked(model: models.Wanted, weights: Weights) -> model_fit.Deployment:
    """A deployment as model_fit is asked of it."""
    values = model.values
    return model_fit.Deployment(
        model=values["llm_model"],
        engine=model.engine,
        name=model.host,
        revision=values["llm_revision"],
        options=OPTIONS[model.engine](values, weights),
        share=values["llm_gpu"],
        margin_mib=values.get("llm_fit_margin_mib"),
        force=values["llm_force"],
    )


def _llama_cpp(values: dict, weights: Weights) -> dict[str, Any]:
    """The engine's options, by its own names, as the role sets them; so do the next two."""
    return {
        "ctx": values["llm_context"] * values["llm_slots"],
        "np": values["llm_slots"],
        "ngl": values["llama_cpp_gpu_layers"],
        "ctk": values.get("llama_cpp_cache_type_k"),
        "ctv": values.get("llama_cpp_cache_type_v"),
        "fa": values.get("llama_cpp_flash_attention"),
        "mmproj": weights.projector.size if weights.projector else None,
    } | _additional(values["llm_extra_args"], values["llm_extra_env"])


def _tgi(values: dict, _weights: Weights) -> dict[str, Any]:
    return {
        "max_total_tokens": values["llm_context"],
        "max_concurrent_requests": values["llm_slots"],
        "max_batch_prefill_tokens": values["llm_context"],
        "quantize": values.get("tgi_quantize"),
    }


def _vllm(values: dict, _weights: Weights) -> dict[str, Any]:
    return {
        "max_model_len": values["llm_context"],
        "max_num_seqs": values["llm_slots"],
        "max_num_batched_tokens": values.get("vllm_max_num_batched_tokens"),
        "gpu_memory_utilization": values["vllm_gpu_memory_utilization"] * min(values["llm_gpu"], 1),
        "kv_cache_dtype": values.get("vllm_kv_cache_dtype"),
        "quantization": values.get("vllm_quantization"),
    }


OPTIONS = {"llama_cpp": _llama_cpp, "tgi": _tgi, "vllm": _vllm}


def _additional(arguments: list[str], environment: dict[str, Any]) -> dict[str, Any]:
    """Options that additional arguments of llama-server set, and its environment where no argument does."""
    names = {spelling: name for name, spellings in LLAMA_CPP.items() for spelling in spellings}
    given = [*environment.items(), *itertools.pairwise(arguments)]
    unified = [{"kv_unified": UNIFIED[argument]} for argument in arguments if argument in UNIFIED]
    return {names[name]: value for name, value in given if name in names} | (unified[-1] if unified else {})


def _in_variables(change: dict, values: dict, pools: list[dict]) -> str:
    """A proposal's change as one writes it into the inventory."""
    flat = {key: value for key, value in change.items() if key != "options"} | change.get("options", {})
    lines = [f"{VARIABLES[key]}: {value}" for key, value in flat.items() if key in VARIABLES]
    if "ctx" in flat:
        lines.append(f"llm_context: {flat['ctx'] // flat.get('np', values['llm_slots'])}")
    whole = flat.get("share", 1) == 1
    if share := flat.get("gpus") if whole else flat["share"]:
        lines.append(f"llm_gpu: {share:g}{'' if _has(pools, share) else ', of which the platform has no pool yet'}")
    if "engine" in flat:
        lines.append(f"in the group {flat['engine']}")
    return ", ".join(dict.fromkeys(lines))


def _has(pools: list[dict], share: float) -> bool:
    """Whether the platform has a pool that gives this share."""
    try:
        return bool(gpu.place(share, pools))
    except gpu.PlacementError:
        return False
