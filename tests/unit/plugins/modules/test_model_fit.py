# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
import os
import struct

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.modules import model_fit

DOCUMENTED = yaml.safe_load(model_fit.RETURN)["deployments"]["contains"]
SAFE, GATED, QUANTISED = "org/llama", "meta-llama/gated", "org/llama-GGUF"
# Bytes of a block and weights in it of the types of tensors in GGUF files, by their numbers.
Q8_0, Q4_K = (8, 34, 32), (12, 144, 256)


def write_safetensors(place, layers, embedding, width, vocabulary=32000):
    """A Llama model as the hub has it, with 8 heads of 128 for keys and values; its weights are a hole in the file."""
    place.mkdir(parents=True)
    heads = embedding // 128
    config = {
        "model_type": "llama", "num_hidden_layers": layers, "hidden_size": embedding, "num_attention_heads": heads,
        "num_key_value_heads": 8, "intermediate_size": width, "max_position_embeddings": 131072, "vocab_size": vocabulary,
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens": (vocabulary, embedding), "lm_head": (vocabulary, embedding), "model.norm": (embedding,)}
    for layer in range(layers):
        each = {
            "input_layernorm": (embedding,), "post_attention_layernorm": (embedding,), "self_attn.q_proj": (embedding, embedding),
            "self_attn.k_proj": (1024, embedding), "self_attn.v_proj": (1024, embedding), "self_attn.o_proj": (embedding, embedding),
            "mlp.gate_proj": (width, embedding), "mlp.up_proj": (width, embedding), "mlp.down_proj": (embedding, width),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in each.items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[f"{name}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path = place / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


def write_gguf(path, kind, layers=2, embedding=1024, width=2048, vocabulary=512):
    """A small Llama model whose matrices have this type; its weights are a hole in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, size, weights = kind

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    def key(name, kind, content):
        return text(name) + struct.pack("<I", kind) + content

    numbers = {
        "block_count": layers, "embedding_length": embedding, "feed_forward_length": width, "attention.head_count": 8,
        "attention.head_count_kv": 8, "context_length": 131072, "vocab_size": vocabulary,
    }  # fmt: skip
    keys = [key("general.architecture", 8, text("llama"))]
    keys += [key(f"llama.{name}", 4, struct.pack("<I", value)) for name, value in numbers.items()]
    shapes = {"token_embd": (embedding, vocabulary), "output": (embedding, vocabulary), "output_norm": (embedding,)}
    for layer in range(layers):
        each = {"attn_norm": (embedding,), "ffn_norm": (embedding,)}
        each |= {f"attn_{name}": (embedding, embedding) for name in ("q", "k", "v", "output")}
        each |= {"ffn_gate": (embedding, width), "ffn_up": (embedding, width), "ffn_down": (width, embedding)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in each.items()}
    tensors, end = [], 0
    for name, shape in shapes.items():
        of = kind if len(shape) > 1 else (0, 4, 1)
        tensors.append(text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, of[0], end))
        end += -(-math.prod(shape) // of[2] * of[1] // 32) * 32
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + tensors)
    path.write_bytes(header)
    os.truncate(path, -(-len(header) // 32) * 32 + end)


@pytest.fixture
def judge(hub_server, tmp_path, monkeypatch, capsys):
    """Run the module; returns its entries. Whatever it prints is searched for tokens."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    root = hub_server.tree.root
    for name in (SAFE, GATED):
        write_safetensors(root / name, 2, 1024, 2048)
    for quant, kind in (("Q8_0", Q8_0), ("Q4_K_M", Q4_K)):
        write_gguf(root / QUANTISED / f"llama-{quant}.gguf", kind)

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
    write_safetensors(tmp_path / "70B", 80, 8192, 28672, 128256)
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
    write_safetensors(tmp_path / "8B", 32, 4096, 14336, 128256)
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
def test_where_it_runs(judge, place, free):
    (entry,) = judge({"model": SAFE, "engine": "vllm"} | place)
    assert [gpu["free_mib"] for gpu in entry["gpus"]] == free


def test_options_may_be_texts_as_templates_make_them(judge):
    texts = {"ctx": "4096", "np": "2", "kv_unified": "true", "ngl": "all", "fa": "on", "tensor_split": "1,1"}
    options = {"ctx": 4096, "np": 2, "kv_unified": True, "fa": True, "tensor_split": [1, 1], "ngl": None}
    first, second = judge({"model": SAFE, "gpus": 2, "options": texts}, {"model": SAFE, "gpus": 2, "options": options})
    assert first == second and first["verdict"] == "fits"


def test_force_is_a_warning(judge):
    (entry,) = judge({"model": SAFE, "force": True})
    assert entry["verdict"] == "fits" and not entry["forced"] and not judge.warnings
    (entry,) = judge({"name": "alice", "model": SAFE, "free_mib": [10], "force": True})
    assert entry["verdict"] == "no" and entry["forced"]
    assert "alice goes on by force. Does not fit: " in json.dumps(judge.warnings)
