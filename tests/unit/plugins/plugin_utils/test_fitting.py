# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.plugin_utils import fitting, models

VALUES = {
    "llm_model": "org/chat-GGUF",
    "llm_revision": "main",
    "llm_context": 4096,
    "llm_slots": 4,
    "llm_gpu": 0.5,
    "llm_force": False,
    "llm_extra_args": [],
    "llama_cpp_gpu_layers": "all",
}
POOLS = [pool_record({"name": "llm", "instance_type": "gpu3.medium", "size": 1, "slots_per_gpu": 2})]


def test_variables_become_the_engines_options():
    arguments = ["--cache-type-k", "q8_0", "-ctv", "q8_0", "--kv-unified", "--ubatch-size", "256", "--jinja"]
    asked = fitting._asked(models.Wanted("alice-chat", "llama_cpp", VALUES | {"llm_extra_args": arguments, "llm_fit_margin_mib": 0}))
    expected = {"ctx": 16384, "np": 4, "ngl": "all", "ctk": "q8_0", "ctv": "q8_0", "kv_unified": True, "ubatch": "256"}
    assert asked.options == expected and asked.share == 0.5 and asked.margin_mib == 0


def test_variables_become_tgis_options():
    asked = fitting._asked(models.Wanted("bob-llama", "tgi", VALUES | {"tgi_quantize": "awq"}))
    assert asked.options == {
        "max_total_tokens": 4096, "max_concurrent_requests": 4, "max_batch_prefill_tokens": 4096, "quantize": "awq",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"options": {"ctx": 8192}}, "llm_context: 2048"),
        ({"options": {"max_total_tokens": 2048}}, "llm_context: 2048"),
        ({"model": "org/chat:Q4_0", "engine": "llama_cpp", "options": {"ctx": 8192, "np": 2}},
         "llm_model: org/chat:Q4_0, llm_slots: 2, llm_context: 4096, in the group llama_cpp"),
        ({"share": 0.5, "gpus": 1}, "llm_gpu: 0.5"),
        ({"gpu": "gpu3.small", "gpus": 1, "share": 1}, "llm_gpu: 1, of which the platform has no pool yet"),
        ({"gpus": 4, "options": {"num_shard": 4}}, "llm_gpu: 4, of which the platform has no pool yet"),
    ],
)  # fmt: skip
def test_proposals_are_lines_of_an_inventory(change, written):
    assert fitting._in_variables(change, VALUES, POOLS) == written
