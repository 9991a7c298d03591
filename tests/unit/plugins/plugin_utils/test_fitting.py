# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import hub, model_fit
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.weights import Weights
from ansible_collections.selfhosted.llm.plugins.plugin_utils import fitting, models

VALUES = {
    "llm_model": "org/chat-GGUF",
    "llm_revision": "main",
    "llm_context": 4096,
    "llm_slots": 4,
    "llm_gpu": 0.5,
    "llm_force": False,
    "llm_extra_args": [],
    "llm_extra_env": {},
    "llama_cpp_gpu_layers": "all",
}
POOLS = [pool_record({"name": "llm", "instance_type": "gpu3.medium", "size": 1, "slots_per_gpu": 2})]


GGUF, PROJECTOR = hub.File("chat-Q4_K_M.gguf", 1000), hub.File("mmproj-F16.gguf", 300)
WEIGHTS = Weights((GGUF, PROJECTOR), "", GGUF.path, PROJECTOR)


def asked(engine: str, **values) -> model_fit.Deployment:
    return fitting._asked(models.Wanted("alice-chat", engine, VALUES | values), WEIGHTS)


def options(engine: str, **values) -> dict:
    return {name: value for name, value in asked(engine, **values).options.items() if value is not None}


def test_variables_become_llama_cpps_options():
    values = {"llama_cpp_cache_type_k": "q8_0", "llama_cpp_cache_type_v": "q4_0", "llama_cpp_flash_attention": True}
    arguments = ["--kv-unified", "--ubatch-size", "256", "--jinja"]
    assert options("llama_cpp", llm_extra_args=arguments, **values) == {
        "ctx": 16384, "np": 4, "ngl": "all", "ctk": "q8_0", "ctv": "q4_0", "fa": True, "mmproj": 300, "kv_unified": True, "ubatch": "256",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {"LLAMA_ARG_UBATCH": 1024, "LLAMA_ARG_KV_UNIFIED": "1", "TZ": "UTC"}, {"ubatch": 1024, "kv_unified": "1"}),
        (["-ub", "256", "--no-kv-unified"], {"LLAMA_ARG_UBATCH": 1024, "LLAMA_ARG_KV_UNIFIED": 1}, {"ubatch": "256", "kv_unified": False}),
        (["-ts", "3,1", "-sm", "none"], {}, {"tensor_split": "3,1", "split_mode": "none"}),
    ],
)
def test_what_is_added_to_llama_cpp_counts(arguments, environment, expected):
    assert fitting._additional(arguments, environment) == expected


def test_variables_become_tgis_options():
    assert options("tgi", tgi_quantize="awq") == {
        "max_total_tokens": 4096, "max_concurrent_requests": 4, "max_batch_prefill_tokens": 4096, "quantize": "awq",
    }  # fmt: skip


def test_variables_become_vllms_options():
    values = {"vllm_gpu_memory_utilization": 0.9, "vllm_kv_cache_dtype": "fp8", "vllm_quantization": "awq"}
    expected = {"max_model_len": 4096, "max_num_seqs": 4, "kv_cache_dtype": "fp8", "quantization": "awq"}
    assert options("vllm", **values) == expected | {"gpu_memory_utilization": 0.45}
    assert options("vllm", **values, llm_gpu=2) == expected | {"gpu_memory_utilization": 0.9}


def test_the_place_is_that_of_the_inventory():
    found = asked("llama_cpp", llm_fit_margin_mib=0)
    assert (found.share, found.margin_mib, found.force) == (0.5, 0, False)


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"options": {"ctx": 8192}}, "llm_context: 2048"),
        ({"options": {"max_total_tokens": 2048}}, "llm_context: 2048"),
        ({"options": {"max_num_seqs": 2}}, "llm_slots: 2"),
        ({"model": "org/chat:Q4_0", "engine": "llama_cpp", "options": {"ctx": 8192, "np": 2}},
         "llm_model: org/chat:Q4_0, llm_slots: 2, llm_context: 4096, in the group llama_cpp"),
        ({"share": 0.5, "gpus": 1}, "llm_gpu: 0.5"),
        ({"gpu": "gpu3.small", "gpus": 1, "share": 1}, "llm_gpu: 1, of which the platform has no pool yet"),
        ({"gpus": 4, "options": {"num_shard": 4}}, "llm_gpu: 4, of which the platform has no pool yet"),
    ],
)  # fmt: skip
def test_proposals_are_lines_of_an_inventory(change, written):
    assert fitting._in_variables(change, VALUES, POOLS) == written


def test_sentences_speak_of_variables(monkeypatch):
    values = VALUES | {"llm_hub": "http://127.0.0.1:9", "llm_hf_token": "x", "vllm_gpu_memory_utilization": 0.92}
    model = models.Wanted("alice-chat", "vllm", values)
    said = "quantization is awq, and the weights of org/model-np are not quantised"
    monkeypatch.setattr(fitting.model_fit, "judge_all", lambda *_: [{"message": said, "proposals": []}])
    found = {"alice-chat": models.Found(hub.Snapshot("org/model-np", "c0ffee", False, "", ()), WEIGHTS, "")}
    assert fitting.judge([model], found, POOLS)["alice-chat"]["message"] == f"vllm_{said}"
