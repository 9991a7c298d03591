# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.plugin_utils import engines

DEPLOYMENT = {"engine": "vllm", "served_by": "vllm", "in_place": True, "pool": {"gpu": "A40"}}
FIT = {"quantisation": ""}
KNOWN = ("vllm_image", "vllm_quantization", "vllm_kv_cache_dtype", "vllm_shared_memory_mib")


TGI = {"engine": "tgi", "llm_extra_args": [], "llm_extra_env": {}, "tgi_image": "registry.example.org/tgi:3.3.7", "llm_force": False}


def notes(deployment=(), values=(), fit=FIT, variables=()):
    return list(engines.notes(dict(values), DEPLOYMENT | dict(deployment), fit, variables, KNOWN))


def test_problems_name_the_host():
    values = {
        "alice-chat": {"engine": "llama_cpp", "llm_extra_args": ["--jinja"], "llm_extra_env": {}},
        "bob-llama": TGI | {"llm_extra_env": {"HF_TOKEN": "x"}},
    }
    (sentence,) = engines.problems(values)
    assert sentence.startswith("bob-llama: llm_extra_env: HF_TOKEN must not be there")


def test_what_is_as_it_should_be_has_no_notes():
    assert notes() == notes({"served_by": ""}) == notes({"served_by": "something-else"}) == []


def test_a_move_keeps_what_it_can_and_names_the_rest():
    variables = ["tgi_image", "tgi_other", "tgi_quantize", "tgi_shared_memory_mib", "llama_cpp_cache_type_k", "llm_model", "vllm_image"]
    (note,) = notes({"served_by": "tgi"}, variables=variables)
    assert note == (
        "It moves from TGI to vLLM: its name, address and API key stay, and so do its weights on the volume. What is set for TGI does not "
        "count here: tgi_other (no equivalent), tgi_quantize (vllm_quantization), tgi_shared_memory_mib (vllm_shared_memory_mib)."
    )


def test_a_move_to_other_files_downloads_them():
    (note,) = engines.notes({}, DEPLOYMENT | {"engine": "llama_cpp", "in_place": False}, FIT, ["vllm_quantization"], [])
    assert "from vLLM to llama.cpp" in note and "are downloaded while the old engine serves" in note
    assert note.endswith("vllm_quantization (llm_model: org/repo:QUANT).")


@pytest.mark.parametrize(
    ("engine", "values", "told"),
    [
        ("vllm", {"llm_shared_with": ["bob", "carol"]}, True),
        ("tgi", {"llm_shared_with": ["bob"], "llm_api_key": True}, True),
        ("tgi", {"llm_shared_with": ["bob"], "llm_api_key": False}, False),
        ("tgi", {"llm_shared_with": []}, False),
        ("llama_cpp", {"llm_shared_with": ["bob"]}, False),
    ],
)
def test_sharing_an_engine_of_one_key_shares_the_key(engine, values, told):
    found = notes({"engine": engine, "served_by": engine}, values)
    assert bool(found) == told and all("sharing shares the key, which bob" in note for note in found)


@pytest.mark.parametrize(("quantisation", "gpu", "told"), [("fp8_per_tensor", "A40", True), ("fp8", "H100", False), ("awq", "A40", False)])
def test_fp8_on_an_a40_is_told_of(quantisation, gpu, told):
    assert bool(notes({"pool": {"gpu": gpu}}, fit={"quantisation": quantisation})) == told


def test_the_image_that_only_root_can_start_is_refused_unless_forced():
    official = TGI | {"tgi_image": "ghcr.io/huggingface/text-generation-inference:3.3.7"}
    (sentence,) = engines.problems({"bob-llama": official})
    assert sentence.startswith("bob-llama: tgi_image: ") and "docs/engines.md" in sentence
    assert engines.problems({"bob-llama": TGI}) == engines.problems({"bob-llama": official | {"llm_force": True}}) == []
