# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan refuses and tells of engines, in the terms of an inventory."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS, arguments

ARCHIVED = (
    "TGI was archived by its makers: 3.3.7 is its last release, and nothing in it is corrected any more. playbooks/compare.yml runs the "
    "same model on another engine beside it and compares answers and speed; moving the host to that engine's group is all it takes then."
)
TGI_IMAGE = "ghcr.io/huggingface/text-generation-inference:"
FOR_ROOT_ALONE = (
    "tgi_image: the image of TGI's makers keeps its Python in /root, where only root may read it, and no engine runs as root here: it "
    "would end with 'error while loading shared libraries: libpython3.11.so.1.0'. docs/engines.md has the two lines of a Dockerfile that "
    "cure it; llm_force tries it as it is."
)
# What the variable of one engine is called for another, where the rest of its name is not the same.
EQUIVALENTS = {
    "tgi_quantize": {"vllm": "vllm_quantization", "llama_cpp": "llm_model: org/repo:QUANT"},
    "vllm_quantization": {"tgi": "tgi_quantize", "llama_cpp": "llm_model: org/repo:QUANT"},
    "vllm_kv_cache_dtype": {"llama_cpp": "llama_cpp_cache_type_k and llama_cpp_cache_type_v"},
    "llama_cpp_cache_type_k": {"vllm": "vllm_kv_cache_dtype"},
    "llama_cpp_cache_type_v": {"vllm": "vllm_kv_cache_dtype"},
}


def problems(values: dict[str, dict]) -> list[str]:
    """What an engine would not start with, by the variables of deployments, which these are by host; sentences."""
    found = [
        f"{host}: {sentence}"
        for host, mine in values.items()
        for sentence in arguments.problems(CONTRACTS[mine["engine"]], mine["llm_extra_args"], mine["llm_extra_env"])
    ]
    return found + [
        f"{host}: {FOR_ROOT_ALONE}"
        for host, mine in values.items()
        if mine["engine"] == "tgi" and mine["tgi_image"].startswith(TGI_IMAGE) and not mine["llm_force"]
    ]


def notes(values: dict, deployment: dict, fit: dict, variables: Collection[str], known: Collection[str]) -> Iterator[str]:
    """What a user should know of a deployment's engine, as sentences.

    Args:
        values: the deployment's validated variables.
        deployment: its entry in the plan.
        fit: what model_fit returns of it.
        variables: names of all variables that are set for the host.
        known: names of those that the engine has.
    """
    engine = deployment["engine"]
    if deployment["served_by"] in CONTRACTS and deployment["served_by"] != engine:
        yield _move(deployment["served_by"], engine, variables, known, deployment["in_place"])
    colleagues = values.get("llm_shared_with")
    if colleagues and values.get("llm_api_key", True) and not CONTRACTS[engine].several_keys:
        yield f"{CONTRACTS[engine].title} takes one API key: sharing shares the key, which {' and '.join(colleagues)} get as well."
    if "fp8" in fit["quantisation"] and deployment["pool"]["gpu"] == "A40":
        yield "An A40 computes with fp8 weights in 16 bits (by Marlin), which is fine: it saves memory and bandwidth, though no arithmetic."


def _move(before: str, after: str, variables: Collection[str], known: Collection[str], in_place: bool) -> str:
    """What stays when a deployment moves from one engine to another, and what becomes of the variables of the former."""
    weights = "so do its weights on the volume" if in_place else "the files that it needs now are downloaded while the old engine serves"
    left = [
        f"{name} ({other or 'no equivalent'})"
        for name in sorted(variables)
        if name.startswith(f"{before}_") and (other := _equivalent(name, before, after, known)) not in variables
    ]
    return (
        f"It moves from {CONTRACTS[before].title} to {CONTRACTS[after].title}: its name, address and API key stay, and {weights}."
        + (f" What is set for {CONTRACTS[before].title} does not count here: {', '.join(left)}." if left else "")
    )


def _equivalent(name: str, before: str, after: str, known: Collection[str]) -> str:
    """What a variable of one engine is called for another; empty where that has no such thing."""
    same = after + name.removeprefix(before)
    return EQUIVALENTS.get(name, {}).get(after) or (same if same in known else "")
