# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
import os

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import safetensors
from ansible_collections.selfhosted.llm.plugins.modules import model_fit

from ..module_utils.fit.shapes import checkpoint, gguf_header, gguf_values, safetensors_header

DOCUMENTED = yaml.safe_load(model_fit.RETURN)["deployments"]["contains"]
SAFE, GATED, QUANTISED = "org/llama", "meta-llama/gated", "org/llama-GGUF"


def write(path, header, size):
    """A file whose weights are a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header)
    os.truncate(path, size)


def write_safetensors(place, name, layers=None):
    """A published model, as the hub has it."""
    config, tensors = checkpoint(name, layers)
    write(place / "model.safetensors", *safetensors_header(tensors))
    (place / "config.json").write_bytes(config)
    return safetensors.model(config, [tensors])


@pytest.fixture
def judge(hub_server, tmp_path, monkeypatch, capsys):
    """Run the module; returns its entries. Whatever it prints is searched for tokens."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    root = hub_server.tree.root
    for name in (SAFE, GATED):
        model = write_safetensors(root / name, "SmolLM2-135M", layers=2)
    for quant in ("Q8_0", "Q4_K_M"):
        made = safetensors.as_gguf(model, quant)
        write(root / QUANTISED / f"llama-{quant}.gguf", *gguf_header(gguf_values(made), made.tensors))

    def judge(*deployments, **options):
        given = {"deployments": list(deployments), "endpoint": hub_server.url, "cache": str(tmp_path / "cache")}
        with patch_module_args(given | options), pytest.raises(SystemExit):
            model_fit.main()
        output = capsys.readouterr().out
        assert "token-" not in output
        result = json.loads(output)
        assert not result.get("failed") and not result["changed"], result
        assert all(set(entry) == set(DOCUMENTED) for entry in result["deployments"])
        judge.warnings = result.get("warnings", [])
        return result["deployments"]

    return judge


def changed(deployment, change):
    """A deployment after a proposal's change, as the documentation says."""
    options = deployment.get("options", {}) if "engine" not in change else {}
    return deployment | change | {"options": options | change.get("options", {})}


def test_llama_70b_on_two_cards_and_what_would_fit_instead(judge, tmp_path):
    write_safetensors(tmp_path / "70B", "Llama-3.1-70B")
    deployment = {
        "name": "bob", "engine": "tgi", "model": str(tmp_path / "70B"), "gpu": "gpu3.medium",
        "options": {"max_total_tokens": 8192, "max_concurrent_requests": 4},
    }  # fmt: skip
    (entry,) = judge(deployment)
    assert entry["verdict"] == "no" and "131.4 GiB weights" in entry["message"] and "on 2 x A40" in entry["message"]
    assert [gpu["free_mib"] for gpu in entry["gpus"]] == [45404] * 2 and all(gpu["left_mib"] < 0 for gpu in entry["gpus"])
    what = " | ".join(proposal["what"] for proposal in entry["proposals"])
    assert "4 x A40" in what and "Q4_K_M" in what and "AWQ or GPTQ" in what
    proposed = [proposal["change"] for proposal in entry["proposals"] if "another repository" not in proposal["what"]]
    assert [again["verdict"] for again in judge(*(changed(deployment, change) for change in proposed))] == ["fits"] * len(proposed)


def test_llama_8b_fits_one_card(judge, tmp_path):
    write_safetensors(tmp_path / "8B", "Llama-3.1-8B")
    tgi, llama_cpp, vllm = judge(*({"model": str(tmp_path / "8B"), "engine": engine} for engine in ("tgi", "llama_cpp", "vllm")))
    assert {tgi["verdict"], llama_cpp["verdict"], vllm["verdict"]} == {"fits"}
    assert tgi["gpus"][0]["parts"]["weights"] == 15316
    assert llama_cpp["gpus"][0]["parts"]["weights"] < 5000  # the GGUF file that would be made of it
    assert llama_cpp["tokens_per_second"] > tgi["tokens_per_second"] > 20


def test_parts_add_up(judge):
    (entry,) = judge({"model": f"{QUANTISED}:Q8_0", "free_mib": [3000, 2000], "options": {"ctx": 3000, "np": 3}, "margin_mib": 17})
    assert [gpu["free_mib"] for gpu in entry["gpus"]] == [3000, 2000]
    for gpu in entry["gpus"]:
        documented = DOCUMENTED["gpus"]["contains"]
        assert set(gpu) == set(documented) and set(gpu["parts"]) == set(documented["parts"]["sample"])
        assert sum(gpu["parts"].values()) == gpu["total_mib"] == gpu["free_mib"] - gpu["left_mib"]
        assert gpu["parts"]["margin"] == 17 and 0 <= gpu["bytes"] / 2**20 + 17 - gpu["total_mib"] < 1


def test_proposals_of_a_repository_fit_when_they_are_made(judge):
    weights = {entry["name"]: entry["gpus"][0] for entry in judge({"model": f"{QUANTISED}:Q8_0"}, {"model": f"{QUANTISED}:Q4_K_M"})}
    between = math.ceil(sum(gpu["bytes"] for gpu in weights.values()) / 2 / 2**20)
    deployment = {"model": f"{QUANTISED}:q8_0", "free_mib": [between], "margin_mib": 0}
    (entry,) = judge(deployment)
    assert entry["verdict"] == "no"
    changes = [proposal["change"] for proposal in entry["proposals"]]
    assert {"model": f"{QUANTISED}:Q4_K_M"} in changes and any(change.get("gpu") == "gpu3.small" for change in changes)
    again = judge(*(changed(deployment, change) for change in changes))
    assert [entry["verdict"] for entry in again] == ["fits"] * len(changes)


def test_models_of_the_hub_are_read_once(judge, hub_server):
    deployments = [{"model": SAFE, "engine": "tgi"}, {"model": SAFE, "engine": "vllm"}, {"model": GATED, "engine": "tgi"}]
    first = judge(*deployments, token="token-with-gated-read")
    assert [entry["verdict"] for entry in first] == ["fits"] * 3
    hub_server.faults.append({"path": "*/resolve/*", "status": 503})
    assert judge(*deployments, token="token-with-gated-read") == first


def test_what_is_wrong_with_one_hides_no_other(judge, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"no model")
    wrong = {
        "licence": ({"model": GATED, "engine": "tgi"}, "is gated"),
        "repository": ({"model": "no/such"}, "no repository no/such"),
        "form": ({"model": "llama"}, "org/repo"),
        "file": ({"model": str(tmp_path / "x.gguf")}, "x.gguf"),
        "absent": ({"model": str(tmp_path / "y.gguf")}, "y.gguf"),
        "quant": ({"model": f"{QUANTISED}:Q2_K"}, "it has Q4_K_M"),
        "kind": ({"model": QUANTISED, "engine": "tgi"}, "llama_cpp"),
        "engine": ({"model": SAFE, "engine": "llama.cpp"}, "no engine 'llama.cpp', perhaps llama_cpp"),
        "option": ({"model": SAFE, "options": {"ctx_size": 1}}, "llama.cpp has no option 'ctx_size', perhaps ctx"),
        "other": ({"model": SAFE, "engine": "vllm", "options": {"max_len": 1}}, "vLLM has no option 'max_len', perhaps max_model_len"),
        "key": ({"model": SAFE, "gpuz": 1}, "A deployment has no option 'gpuz', perhaps gpu"),
        "nothing": ({}, "lacks model"),
        "number": ({"model": SAFE, "options": {"ctx": "many"}}, "ctx is 'many', and must be a whole number above 0"),
        "zero": ({"model": SAFE, "options": {"np": 0}}, "np is 0, and must be"),
        "yes": ({"model": SAFE, "options": {"fa": "perhaps"}}, "fa is 'perhaps', and must be true or false"),
        "card": ({"model": SAFE, "gpu": "A4O"}, "no GPU 'A4O', perhaps A40"),
        "share": ({"model": SAFE, "share": 1.5}, "share 1.5 is neither"),
        "cards": ({"model": SAFE, "gpu": "gpu3.medium", "gpus": 4}, "gpus is 4, and gpu3.medium has 2"),
        "memory": ({"model": SAFE, "free_mib": ["?"]}, "free_mib is '?'"),
        "type": ({"model": SAFE, "options": {"ctk": "q9"}}, "ctk"),
    }
    entries = judge(*(given | {"name": name} for name, (given, _) in wrong.items()), {"name": "good", "model": SAFE})
    for entry, (name, (_, sentence)) in zip(entries, wrong.items(), strict=False):
        assert entry["name"] == name and entry["verdict"] == "unknown" and sentence in entry["message"], entry
        assert (entry["gpus"], entry["proposals"]) == ([], [])
    assert entries[-1]["verdict"] == "fits"


@pytest.mark.parametrize(
    ("place", "free"),
    [
        ({}, [45404]),
        ({"share": 0.5}, [22702]),
        ({"share": "2"}, [45404] * 2),
        ({"gpus": 2}, [45404] * 2),
        ({"gpus": 2, "share": 0.5}, [22702] * 2),
        ({"gpu": "gpu3.large"}, [45404] * 4),
        ({"gpu": "gpu3.large", "gpus": 2}, [45404] * 2),
        ({"gpu": "gpu3.large", "gpus": 4, "share": 1}, [45404] * 4),
        ({"free_mib": [9000, 8000], "gpus": 4}, [9000, 8000]),
    ],
)
def test_where_it_runs(judge, tmp_path, place, free):
    write_safetensors(tmp_path / "1B", "Llama-3.2-1B", layers=2)
    (entry,) = judge({"model": str(tmp_path / "1B"), "engine": "vllm"} | place)
    assert [gpu["free_mib"] for gpu in entry["gpus"]] == free


def test_options_may_be_texts_as_templates_make_them(judge):
    texts = {"ctx": "4096", "np": "2", "kv_unified": "true", "ngl": "all", "fa": "on", "tensor_split": "1,1"}
    options = {"ctx": 4096, "np": 2, "kv_unified": True, "fa": True, "tensor_split": [1, 1], "ngl": None}
    first, second = judge({"model": SAFE, "gpus": 2, "options": texts}, {"model": SAFE, "gpus": 2, "options": options})
    assert first == second and first["verdict"] == "fits"


def test_force_is_a_warning(judge):
    (entry,) = judge({"model": SAFE, "force": True})
    assert entry["verdict"] == "fits" and not entry["forced"] and "by force" not in json.dumps(judge.warnings)
    (entry,) = judge({"name": "alice", "model": SAFE, "free_mib": [10], "force": True})
    assert entry["verdict"] == "no" and entry["forced"]
    assert "alice goes on by force. Does not fit: " in json.dumps(judge.warnings)
