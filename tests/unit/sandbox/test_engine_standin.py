# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins for TGI and vLLM: what they refuse to start with, and that their answers have the form of the engines'."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import importlib
import json
import re
import sys
import threading
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS

REPOSITORY = Path(__file__).parents[3]

KUBERNETES = {
    "PATH": "/usr/bin", "HOSTNAME": "alice-chat-5d9c", "HOME": "/tmp", "USER": "engine", "NVIDIA_VISIBLE_DEVICES": "GPU-0",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1", "ALICE_CHAT_PORT": "tcp://10.96.1.2:80", "ALICE_CHAT_PORT_80_TCP_ADDR": "10.96.1.2",
    "HF_HUB_OFFLINE": "1",
}  # fmt: skip
TGI = KUBERNETES | {"MODEL_ID": "alice-chat", "PORT": "8080", "MAX_TOTAL_TOKENS": "64", "USAGE_STATS": "off", "API_KEY": "Key"}
VLLM = KUBERNETES | {"VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": "Key"}
ARGUMENTS = ["alice-chat", "--served-model-name", "alice-chat", "--port=8080", "--max-model-len", "64", "--gpu-memory-utilization", "0.46"]
CHAT = {"model": "alice-chat", "messages": [{"role": "user", "content": "Say hello."}]}


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    """The working directory has a model of the deployment's name."""
    (tmp_path / "alice-chat").mkdir()
    (tmp_path / "alice-chat/config.json").write_text('{"max_position_embeddings": 64}')
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def standin(monkeypatch):
    """A stand-in by its engine's name, as in its image: beside the module they share and the tables."""
    monkeypatch.setattr(sys, "path", [*sys.path, *(str(REPOSITORY / place) for place in ("tests/sandbox", "plugins/module_utils"))])
    return importlib.import_module


@pytest.fixture
def serve(standin):
    """Start a stand-in as its role does: serve("tgi") -> its address."""
    with contextlib.ExitStack() as stack:

        def serve(engine: str) -> tuple[str, int]:
            module = standin(engine)
            handler = module.Handler
            handler.settings = module.settings(ARGUMENTS if engine == "vllm" else [], VLLM if engine == "vllm" else TGI)
            handler.metrics = module.metrics(handler.settings)
            handler.log_message = lambda *_: None
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server.server_address

        yield serve


@pytest.fixture
def ask(serve):
    """Start a stand-in, and ask it: ask("tgi")(path, body, key) -> status, text."""

    def start(engine: str):
        address = serve(engine)

        def ask(path: str, body: dict | None = None, key: str = "Bearer Key", method: str = "") -> tuple[int, str]:
            client = http.client.HTTPConnection(*address, timeout=10)
            client.request(method or ("POST" if body else "GET"), path, json.dumps(body) if body else None, {"Authorization": key})
            response = client.getresponse()
            return response.status, response.read().decode()

        return ask

    return start


@pytest.mark.parametrize(
    ("engine", "arguments", "environment"),
    [
        ("tgi", [], {"QUANTIZE": "fp8", "NUM_SHARD": "2", "CUDA_MEMORY_FRACTION": "0.5", "GRACEFUL_TERMINATION_TIMEOUT": "60"}),
        ("tgi", ["--max-batch-size", "4", "--port=8081"], {"NCCL_DEBUG": "INFO"}),
        ("vllm", ["--enforce-eager", "--tensor-parallel-size", "2", "--shutdown-timeout", "60"], {"DO_NOT_TRACK": "1"}),
    ],
)
def test_it_starts_with_what_the_engine_knows(standin, engine, arguments, environment):
    base, given = (VLLM, ARGUMENTS) if engine == "vllm" else (TGI, [])
    found = standin(engine).settings(given + arguments, base | environment)
    assert found.model == "alice-chat" and found.context == 64 and found.key == "Key"
    assert found.port == (8081 if "--port=8081" in arguments else 8080)


@pytest.mark.parametrize(
    ("engine", "arguments", "environment", "said"),
    [
        ("tgi", [], {"HF_TOKEN": "x"}, "HF_TOKEN is set"),
        ("tgi", [], {"HF_HUB_OFFLINE": "0"}, "HF_HUB_OFFLINE"),
        ("tgi", [], {"MAX_TOTAL_TOKEN": "64"}, "reads no environment variable MAX_TOTAL_TOKEN"),
        ("tgi", [], {"MODEL_ID": "org/repo"}, "'org/repo' is not a local directory"),
        ("tgi", [], {"PORT": "80"}, "PORT '80'"),
        ("tgi", [], {"QUANTIZE": "q4"}, "QUANTIZE 'q4'"),
        ("tgi", [], {"USAGE_STATS": "on"}, "USAGE_STATS"),
        ("tgi", [], {"CUDA_MEMORY_FRACTION": "1.5"}, "CUDA_MEMORY_FRACTION"),
        ("tgi", [], {"MAX_INPUT_TOKENS": "64"}, "MAX_INPUT_TOKENS"),
        ("tgi", ["--max-length", "4"], {}, "unrecognized arguments: --max-length"),
        ("tgi", ["--max-batch-size"], {}, "expected 1 values"),
        ("tgi", ["serve"], {}, "unexpected argument 'serve'"),
        ("vllm", [], {"HUGGING_FACE_HUB_TOKEN": "x"}, "HUGGING_FACE_HUB_TOKEN is set"),
        ("vllm", [], {"HF_HUB_OFFLINE": ""}, "HF_HUB_OFFLINE"),
        ("vllm", [], {"VLLM_USAGE_STATS": "0"}, "reads no environment variable VLLM_USAGE_STATS"),
        ("vllm", [], {"VLLM_NO_USAGE_STATS": "0"}, "VLLM_NO_USAGE_STATS"),
        ("vllm", ["--max-seq-len", "64"], {}, "unrecognized arguments: --max-seq-len"),
        ("vllm", ["--api-key", "Key"], {}, "--api-key shows the key"),
        ("vllm", ["--max-model-len", "65"], {}, "max_model_len (65) is greater than the derived max_model_len"),
        ("vllm", ["--port", "80"], {}, "--port '80'"),
        ("vllm", ["--gpu-memory-utilization", "46"], {}, "--gpu-memory-utilization '46'"),
        ("vllm", ["--model", "org/repo", "--enforce-eager", "org/repo"], {}, "takes one model"),
    ],
)
def test_it_refuses_to_start(standin, engine, arguments, environment, said):
    module = standin(engine)
    base, given = (VLLM, ARGUMENTS) if engine == "vllm" else (TGI, [])
    with pytest.raises(module.Refused) as refused:
        module.settings(given + arguments, base | environment)
    assert said in str(refused.value)


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_its_answers_have_openais_form(ask, engine):
    answer = ask(engine)
    status, text = answer("/v1/chat/completions", CHAT | {"max_tokens": 5})
    chat = json.loads(text)
    assert status == 200 and chat["object"] == "chat.completion" and chat["model"] == "alice-chat"
    assert chat["choices"][0]["message"]["content"] == "This is a stand-in for" and chat["choices"][0]["finish_reason"] == "length"
    assert chat["usage"] == {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}
    whole = json.loads(answer("/v1/completions", {"model": "alice-chat", "prompt": "Say hello."})[1])
    assert whole["model"] == "alice-chat" and "asked no model" in whole["choices"][0]["text"]
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert [card["id"] for card in json.loads(answer("/v1/models")[1])["data"]] == ["alice-chat"]


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_it_streams(ask, engine, options):
    status, text = ask(engine)("/v1/chat/completions", CHAT | {"max_tokens": 3, "stream": True} | options)
    *events, end = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    chunks = [json.loads(event) for event in events]
    assert status == 200 and end == "[DONE]" and {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:3]) == "This is a"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:3]] == [None, None, "length"]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks[3:]] == ([3] if options else [])


def test_tgis_own_routes(ask):
    answer = ask("tgi")
    asked = {"inputs": "Say hello.", "parameters": {"max_new_tokens": 2, "details": True}}
    whole = json.loads(answer("/generate", asked)[1])
    assert whole["generated_text"] == "This is"
    assert (whole["details"]["finish_reason"], whole["details"]["generated_tokens"]) == ("length", 2)
    first, last = [json.loads(line.removeprefix("data: ")) for line in answer("/generate_stream", asked)[1].split("\n\n") if line]
    assert first["generated_text"] is None and last["generated_text"] == "This is" and last["details"]["input_length"] == 2
    assert json.loads(answer("/info")[1])["model_id"] == "alice-chat"


def test_tgi_takes_another_models_name_and_vllm_does_not(ask):
    """TGI takes it for that of an adapter and answers with the model all the same."""
    other = CHAT | {"model": "other", "max_tokens": 1}
    assert json.loads(ask("tgi")("/v1/chat/completions", other)[1])["model"] == "other"
    status, text = ask("vllm")("/v1/chat/completions", other)
    assert status == 404 and "`other` does not exist" in json.loads(text)["error"]["message"]


@pytest.mark.parametrize(
    ("engine", "key", "right"), [("tgi", "bearer kEY", True), ("vllm", "bearer Key", True), ("vllm", "Bearer key", False)]
)
def test_how_exactly_the_key_must_be_right(ask, engine, key, right):
    status, _text = ask(engine)("/v1/chat/completions", CHAT | {"max_tokens": 1}, key)
    assert status == (200 if right else 401)


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_the_key_guards_what_the_table_says(ask, engine):
    answer, contract = ask(engine), CONTRACTS[engine]
    for path in contract.keyed:
        assert answer(path, {"stream": False}, "Bearer wrong")[0] == 401, path
    for path in {"/health", "/ping", "/metrics", "/v1/models"} & set(contract.unkeyed):
        assert answer(path, None, "")[0] == 200, path


@pytest.mark.parametrize(("engine", "status"), [("tgi", 422), ("vllm", 400)])
def test_a_request_that_the_context_cannot_hold(ask, engine, status):
    assert ask(engine)("/v1/chat/completions", CHAT | {"max_tokens": 63})[0] == status
    assert ask(engine)("/v1/completions", {"model": "alice-chat", "prompt": ["a"]})[0] == 200
    assert ask(engine)("/v1/chat/completions", {"model": "alice-chat"})[0] == 422


def value(text: str, name: str, *labels: str) -> float | None:
    """The sum of the samples with that name and these labels in what /metrics answers; None where there is none."""
    lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line) and all(label in line for label in labels)]
    return sum(float(line.rpartition(" ")[2]) for line in lines) if lines else None


def names(text: str) -> set[str]:
    """The metrics in it, histograms by their base names."""
    return {name for name in re.findall(r"^# TYPE (\S+)", text, re.M) if not name.endswith("_created")}


def test_vllms_metrics_are_there_at_once_and_move(ask):
    answer = ask("vllm")
    before = answer("/metrics")[1]
    assert names(before) == set(CONTRACTS["vllm"].metrics) and value(before, "vllm:generation_tokens_total") == 0
    assert before.count("vllm:request_success_total{") == 5 and value(before, "vllm:prompt_tokens_created") > 1e9
    answer("/v1/chat/completions", CHAT | {"max_tokens": 4})
    after = answer("/metrics")[1]
    assert value(after, "vllm:generation_tokens_total", 'engine="0"', 'model_name="alice-chat"') == 4
    assert value(after, "vllm:request_success_total", 'finished_reason="length"') == 1
    assert value(after, "vllm:inter_token_latency_seconds_count") == 3 and value(after, "vllm:num_requests_running") == 0
    bucket = "vllm:time_to_first_token_seconds_bucket"
    assert [value(after, bucket, f'le="{bound}"') for bound in ("0.005", "0.01", "2560.0", "+Inf")] == [0, 1, 1, 1]
    ends = [value(after, "vllm:request_prompt_tokens_bucket", f'le="{bound}"') for bound in ("1.0", "50.0", "100.0")]
    assert ends == [0, 1, None]  # as its context is 64


def test_vllm_finds_a_prompt_again_in_its_cache(ask):
    answer = ask("vllm")
    for _time in range(2):
        answer("/v1/completions", {"model": "alice-chat", "prompt": "a text of many words " * 8, "max_tokens": 1})
    after = answer("/metrics")[1]
    assert (value(after, "vllm:prefix_cache_queries_total"), value(after, "vllm:prefix_cache_hits_total")) == (80, 32)


def test_tgis_metrics_come_with_their_first_value(ask):
    answer, known = ask("tgi"), set(CONTRACTS["tgi"].metrics)
    assert names(answer("/metrics")[1]) == {"tgi_queue_size", "tgi_batch_max_total_tokens"} < known
    answer("/v1/chat/completions", CHAT | {"max_tokens": 4})
    after = answer("/metrics")[1]
    assert names(after) == known - set(CONTRACTS["tgi"].rare)
    assert value(after, "tgi_request_generated_tokens_sum") == 4 and value(after, "tgi_request_success") == 1
    assert value(after, "tgi_batch_inference_count", 'method="prefill"') == 1
    assert value(after, "tgi_batch_inference_count", 'method="decode"') == 3
    assert value(after, "tgi_request_duration_bucket", 'le="0.00015000000000000001"') == 0
    assert "# TYPE tgi_request_skipped_tokens summary" in after and "_created" not in after


@pytest.mark.parametrize(("engine", "status", "counted"), [
    ("tgi", 424, ("tgi_request_failure", 'err="generation"')),
    ("vllm", 500, ("vllm:request_success_total", 'finished_reason="error"')),
])  # fmt: skip
def test_requests_that_fail_are_counted(ask, engine, status, counted):
    answer = ask(engine)
    assert answer("/sandbox/faults", {"broken": True})[0] == 200
    try:
        assert answer("/v1/chat/completions", CHAT)[0] == status
    finally:
        assert answer("/sandbox/faults", method="DELETE")[0] == 200
    assert value(answer("/metrics")[1], *counted) == 1
    assert answer("/v1/chat/completions", CHAT | {"max_tokens": 1})[0] == 200


def test_what_tgi_refuses_is_counted_by_its_kind(ask, standin, monkeypatch):
    answer = ask("tgi")
    assert answer("/v1/chat/completions", CHAT | {"max_tokens": 99})[0] == 422
    monkeypatch.setattr(standin("tgi").Handler, "running", 128)
    assert answer("/v1/chat/completions", CHAT)[0] == 429
    after = answer("/metrics")[1]
    assert [value(after, "tgi_request_failure", f'err="{kind}"') for kind in ("validation", "overloaded")] == [1, 1]
    assert value(after, "tgi_request_count") == 2


@pytest.mark.parametrize(("engine", "counted"), [
    ("tgi", ("tgi_request_failure", 'err="dropped"')), ("vllm", ("vllm:request_success_total", 'finished_reason="abort"')),
])  # fmt: skip
def test_a_client_that_goes_is_counted(ask, standin, engine, counted):
    answer = ask(engine)
    handler = standin(engine).Handler
    request = standin("engine_standin").Request({}, 2, ["a", "b"], "stop")
    handler.hits, words = 0, handler.generate(object.__new__(handler), request)
    next(words)
    words.close()
    assert value(answer("/metrics")[1], *counted) == 1
