# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles make of each engine's own variables."""

from __future__ import annotations

import itertools

import pytest

from .conftest import GGUF

LLAMA_CPP = {
    "llama_cpp_gpu_layers": 10,
    "llama_cpp_cache_type_k": "q8_0",
    "llama_cpp_cache_type_v": "q4_0",
    "llama_cpp_flash_attention": True,
    "llama_cpp_cache_ram_mib": 0,
    "llama_cpp_web_ui": True,
    "llama_cpp_embeddings": True,
    "llama_cpp_pooling": "mean",
    "llama_cpp_mmproj": "auto",
}
VLLM = {"vllm_quantization": "fp8", "vllm_kv_cache_dtype": "fp8", "vllm_max_num_batched_tokens": 4096, "vllm_gpu_memory_utilization": 0.9}


@pytest.fixture(scope="session")
def servers(check) -> dict[str, dict]:
    """The engines' containers by host."""
    keyless = {"llm_api_key": False}
    run = check(
        {
            "llama_cpp": {"alice-llamacpp": {}, "alice-options": LLAMA_CPP, "alice-open": keyless},
            "tgi": {"alice-tgi": {}, "alice-eetq": {"tgi_quantize": "eetq", "tgi_shared_memory_mib": 64} | keyless},
            "vllm": {"alice-vllm": {}, "alice-fp8": VLLM | keyless},
        }
    )
    assert run.status == 0, run.message
    return {host: objects.server for host, objects in run.objects.items() if host.startswith("alice-")}


def options(server: dict) -> dict[str, str]:
    """Options and their values, and switches with none."""
    words = [*server["args"], "--"]
    return {word: "" if after.startswith("--") else after for word, after in itertools.pairwise(words) if word.startswith("--")}


def environment(server: dict) -> dict[str, object]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in server["env"]}


def test_llama_cpp_relies_on_no_default(servers):
    given = options(servers["alice-llamacpp"])
    (path,) = [mount["mountPath"] for mount in servers["alice-llamacpp"]["volumeMounts"] if mount["name"] == "api-key"]
    assert given.pop("--model").endswith("/chat-Q4_K_M.gguf")
    assert given == {
        "--alias": "alice-llamacpp", "--host": "0.0.0.0", "--port": "8080", "--n-gpu-layers": "all", "--ctx-size": "32768",
        "--verbosity": "4",
        "--parallel": "4", "--fit": "off", "--cache-ram": "8192", "--api-key-file": f"{path}/keys", "--metrics": "", "--no-slots": "",
        "--no-ui": "",
    }  # fmt: skip


def test_llama_cpps_options(servers):
    given, plain = options(servers["alice-options"]), options(servers["alice-llamacpp"])
    assert given.pop("--mmproj").endswith("/mmproj-F16.gguf") and f"/{GGUF}/" in given.pop("--model")
    changed = {
        "--alias": "alice-options", "--n-gpu-layers": "10", "--cache-ram": "0", "--cache-type-k": "q8_0", "--cache-type-v": "q4_0",
        "--flash-attn": "on", "--pooling": "mean", "--ui": "", "--embeddings": "",
    }  # fmt: skip
    del plain["--model"], plain["--no-ui"]
    assert given == plain | changed


def test_without_a_key_no_engine_is_told_one(servers):
    assert "--api-key-file" not in options(servers["alice-open"]) and "api-key" not in str(servers["alice-open"]["volumeMounts"])
    assert "API_KEY" not in environment(servers["alice-eetq"]) and "VLLM_API_KEY" not in environment(servers["alice-fp8"])


def test_tgi_has_its_settings_from_the_environment(servers):
    given = environment(servers["alice-tgi"])
    assert "args" not in servers["alice-tgi"]
    assert given.pop("API_KEY") == {"secretKeyRef": {"name": "alice-tgi-api-key", "key": "key"}}
    assert given == {
        "MODEL_ID": "alice-tgi", "HOSTNAME": "0.0.0.0", "PORT": "8080", "NUM_SHARD": "1", "MAX_TOTAL_TOKENS": "8192",
        "MAX_INPUT_TOKENS": "8191", "MAX_BATCH_PREFILL_TOKENS": "8192", "CUDA_MEMORY_FRACTION": "0.5",
        "GRACEFUL_TERMINATION_TIMEOUT": "60", "USAGE_STATS": "off", "HF_HUB_OFFLINE": "1", "HF_HOME": "/tmp/huggingface",
        "HOME": "/tmp", "USER": "tgi",
    }  # fmt: skip
    assert environment(servers["alice-eetq"])["QUANTIZE"] == "eetq"


def test_tgis_model_has_the_deployments_name_where_it_starts(servers):
    server = servers["alice-tgi"]
    (mount,) = [mount for mount in server["volumeMounts"] if mount["mountPath"] == f"{server['workingDir']}/alice-tgi"]
    assert mount["name"] == "models" and mount["readOnly"] and mount["subPath"].startswith("org/chat/")


def test_vllm_has_its_key_alone_from_the_environment(servers):
    server = servers["alice-vllm"]
    assert server["args"][0].startswith("/models/org/chat/") and options(server) == {
        "--served-model-name": "alice-vllm", "--host": "0.0.0.0", "--port": "8080", "--max-model-len": "8192", "--max-num-seqs": "4",
        "--tensor-parallel-size": "1", "--gpu-memory-utilization": "0.46", "--shutdown-timeout": "60",
    }  # fmt: skip
    given = environment(server)
    assert given.pop("VLLM_API_KEY") == {"secretKeyRef": {"name": "alice-vllm-api-key", "key": "key"}}
    assert given == {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HOME": "/tmp", "USER": "vllm",
    }  # fmt: skip


def test_vllms_options(servers):
    changed = {"--quantization": "fp8", "--kv-cache-dtype": "fp8", "--max-num-batched-tokens": "4096", "--gpu-memory-utilization": "0.45"}
    given, plain = options(servers["alice-fp8"]), options(servers["alice-vllm"])
    assert given == plain | changed | {"--served-model-name": "alice-fp8"}


def test_the_memory_limit_counts_what_each_engine_asks_for(servers):
    limits = {host: int(server["resources"]["limits"]["memory"].removesuffix("Mi")) for host, server in servers.items()}
    assert limits["alice-llamacpp"] - limits["alice-options"] == 8192
    assert limits["alice-tgi"] - limits["alice-eetq"] == 1024 - 64
    assert limits["alice-vllm"] - limits["alice-options"] == 1024
