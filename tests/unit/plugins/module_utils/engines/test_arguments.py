# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.engines.arguments import problems

# Not a token, but of the form of one.
TOKEN = "hf_" + "x" * 34


@pytest.mark.parametrize(
    ("engine", "arguments"),
    [
        ("llama_cpp", []),
        ("llama_cpp", ["--jinja", "--ubatch-size", 256, "-tb", "4", "--seed", "-1"]),
        ("llama_cpp", ["--control-vector-layer-range", "1", "20", "--reverse-prompt", "-end-", "--swa-full"]),
        ("tgi", ["--dtype", "float16", "--waiting-served-ratio=0.5", "--trust-remote-code"]),
        ("vllm", ["--lora-modules", "one=a", "two=b", "--enable-lora", "--no-enable-prefix-caching", "--seed=-1"]),
        ("vllm", ["--compilation-config.mode", "3", "--hf-overrides.rope.type=yarn", "-cc", "{}"]),
        ("vllm", ["--cudagraph-capture-sizes", "1", "2", "4"]),
    ],
)
def test_what_the_engine_takes_is_taken(engine, arguments):
    assert problems(CONTRACTS[engine], arguments, {}) == []


@pytest.mark.parametrize(
    ("engine", "arguments", "sentence"),
    [
        ("llama_cpp", ["--ubatchsize", "256"], "llama.cpp b11434 has no option --ubatchsize; did you mean --ubatch-size?"),
        ("llama_cpp", ["--n-gpu-layer", "9"], "did you mean --n-gpu-layers? --n-gpu-layers is decided by llama_cpp_gpu_layers: set that"),
        ("llama_cpp", ["--draft-max", "16"], "b11434 has no --draft-max any more: use --spec-draft-n-max or --spec-ngram-mod-n-max."),
        ("llama_cpp", ["--spec-ngram-size-n", "3"], "use --spec-ngram-{simple,map-k,map-k4v}-size-n or --spec-ngram-mod-n-match."),
        ("llama_cpp", ["-c", "4096"], "-c is decided by llm_context: set that instead."),
        ("llama_cpp", ["--slots"], "--slots is set by the role for all: remove it."),
        ("llama_cpp", ["-a", "other"], "-a is the host's name, by which clients ask for the model: remove it."),
        ("llama_cpp", ["-hft", "x"], "-hft must not be there: the engine never needs the hub's token, only the download gets it"),
        ("llama_cpp", ["--ubatch-size"], "--ubatch-size lacks its value."),
        ("llama_cpp", ["--ubatch-size", "--jinja"], "--ubatch-size lacks its value."),
        ("llama_cpp", ["--control-vector-layer-range", "1"], "--control-vector-layer-range lacks its 2 values."),
        ("llama_cpp", ["--jinja", "on"], "--jinja takes no value: remove what follows it."),
        ("llama_cpp", ["--ubatch-size", "1", "2"], "--ubatch-size takes its value: remove what follows it."),
        ("llama_cpp", ["--ubatch-size=256"], "llama.cpp takes no '=' between an option and its value: make --ubatch-size and its"),
        ("llama_cpp", ["--ubatch-size 256"], "--ubatch-size and its value are one entry: make them two."),
        ("llama_cpp", ["model.gguf"], "a value stands before the first option: llama.cpp takes options only."),
        ("llama_cpp", ["--log-file", TOKEN], "a token must not be there"),
        ("llama_cpp", ["--jinja.x"], "llama.cpp b11434 has no option --jinja.x"),
        ("tgi", ["--max-input-length", "5"], "--max-input-length is decided by llm_context: set that instead."),
        ("tgi", ["--quantise", "awq"], "did you mean --quantize? --quantize is decided by tgi_quantize: set that instead."),
        ("tgi", ["--disable-usage-stats"], "TGI 3.3.7 has no --disable-usage-stats any more; nothing replaces it."),
        ("vllm", ["--enforce-eagr"], "vLLM v0.31.0 has no option --enforce-eagr; did you mean --enforce-eager?"),
        ("vllm", ["--enforce-eager=true"], "--enforce-eager takes no value: remove what follows it."),
        ("vllm", ["--task", "embed"], "vLLM v0.31.0 has no --task any more: use --runner and --convert."),
        ("vllm", ["--api-key", "a", "b"], "--api-key is decided by llm_api_key: set that instead."),
        ("vllm", ["--no-such.x", "1"], "vLLM v0.31.0 has no option --no-such.x"),
        ("vllm", ["--completely-different"], "vLLM v0.31.0 has no option --completely-different."),
    ],
)
def test_what_it_does_not_take_is_a_sentence(engine, arguments, sentence):
    (found,) = problems(CONTRACTS[engine], arguments, {})
    assert found.startswith("llm_extra_args: ") and sentence in found and TOKEN not in found


def test_all_that_is_wrong_is_told_at_once():
    found = problems(CONTRACTS["vllm"], ["--port", "80", "--seeds", "1", "--dtype"], {"HF_TOKEN": "x"})
    assert [sentence.split()[1] for sentence in found] == ["--port", "vLLM", "--dtype", "HF_TOKEN"]


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("llama_cpp", "LLAMA_ARG_UBATCH"),
        ("llama_cpp", "GGML_CUDA_DISABLE_GRAPHS"),
        ("tgi", "MAX_BATCH_SIZE"),
        ("tgi", "ATTENTION"),
        ("vllm", "VLLM_LOGGING_LEVEL"),
        ("vllm", "HF_HUB_DISABLE_PROGRESS_BARS"),
        ("vllm", "NCCL_DEBUG"),
        ("vllm", "TZ"),
    ],
)
def test_what_it_reads_of_the_environment_is_taken(engine, name):
    assert problems(CONTRACTS[engine], [], {name: "1"}) == []


@pytest.mark.parametrize(
    ("engine", "name", "value", "sentence"),
    [
        ("tgi", "MAX_BATCHSIZE", 4, "TGI 3.3.7 has no environment variable MAX_BATCHSIZE; did you mean MAX_BATCH_SIZE?"),
        ("tgi", "MAX_TOTAL_TOKENS", 4, "MAX_TOTAL_TOKENS is decided by llm_context: set that instead."),
        ("tgi", "ENABLE_CUDA_GRAPHS", 1, "TGI 3.3.7 has no environment variable ENABLE_CUDA_GRAPHS; did you mean CUDA_GRAPHS?"),
        ("llama_cpp", "LLAMA_ARG_DRAFT_MAX", 4, "has no LLAMA_ARG_DRAFT_MAX any more: use LLAMA_ARG_SPEC_DRAFT_N_MAX."),
        ("vllm", "VLLM_LOG_LEVEL", "x", "did you mean VLLM_LOGGING_LEVEL?"),
        ("vllm", "HOME", "/", "HOME is set by the role for all: remove it."),
        *((engine, name, "x", f"{name} must not be there") for engine in CONTRACTS for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")),
        ("vllm", "VLLM_LOGGING_PREFIX", TOKEN, "VLLM_LOGGING_PREFIX must not be there: the engine never needs the hub's token"),
    ],
)
def test_what_it_does_not_read_is_a_sentence(engine, name, value, sentence):
    (found,) = problems(CONTRACTS[engine], [], {name: value})
    assert found.startswith("llm_extra_env: ") and sentence in found and TOKEN not in found
