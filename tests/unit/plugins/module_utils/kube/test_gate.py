# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import gate
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.desired import NotServing, Owner
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Answer, EndpointError

OPTIONS = {
    "engine": "llama_cpp",
    "port": 8080,
    "key_secret": "chat-api-key",
    "task": "chat",
    "floor": 5.0,
    "gpu_layers": "all",
    "gpu_mib": 4000,
}

ANSWER = Answer("Hello.", 1.234, 20.0)


class Cluster:
    """A cluster with one ready pod; keeps what is written."""

    def __init__(self, log: str):
        self.log = log
        self.written: list[dict] = []

    def request(self, method, path, body=None, query=None, content_type=""):
        if method == "PATCH":
            self.written.append(body)
        return {"data": {"key": base64.b64encode(b"the key").decode()}}

    def text(self, path, query=None):
        assert path.endswith("/pods/chat-1/log")
        return self.log


class Serving:
    """An endpoint that does all it should, but for what a test changes."""

    served: tuple = ("chat",)
    speed = 20.0
    missing = ""
    error = None

    def __init__(self, _connect, model, key):
        assert (model, key) == ("chat", "the key")

    def models(self):
        return list(self.served)

    def chat(self):
        if self.error:
            raise EndpointError(self.error)
        return ANSWER._replace(tokens_per_second=self.speed)

    def embed(self):
        return ANSWER._replace(text="", tokens_per_second=300.0)

    def metrics(self):
        return set(CONTRACTS["llama_cpp"].metrics) - {self.missing}


def deployment(template: dict) -> dict:
    return {"metadata": {"name": "chat", "namespace": "n"}, "spec": {"replicas": 1, "template": template}}


@pytest.fixture
def asked(monkeypatch):
    """Puts a deployment to the test; returns the cluster and what was answered."""
    monkeypatch.setattr(gate, "ready_pod", lambda *_: "chat-1")

    def asked(log: str = "offloaded 33/33 layers to GPU", serving: dict | None = None, used: int | None = 4100, **options):
        monkeypatch.setattr(gate, "used_mib", lambda _kube, engineer, pod, _least: used if (engineer, pod) == ("alice", "chat-1") else 0)
        cluster = Cluster(log)
        monkeypatch.setattr(gate, "Endpoint", type("Changed", (Serving,), serving or {}))
        proof = gate.Gate(cluster, Owner("chat", "alice", "n"), OPTIONS | options, "")
        return cluster, proof.prove(deployment({"image": "a"}))

    return asked


def test_what_serves_is_recorded_and_not_asked_again(asked):
    cluster, answer = asked()
    assert (answer["seconds"], answer["tokens_per_second"]) == (1.23, 20.0)
    (body,) = cluster.written
    same = deployment({"image": "a"})
    same["metadata"]["annotations"] = body["metadata"]["annotations"]
    assert gate.recorded(same) == json.loads(body["metadata"]["annotations"][gate.ANSWERED]) == answer
    assert gate.recorded(same | {"spec": {"template": {"image": "b"}}}) == {}


@pytest.mark.parametrize(
    ("log", "serving", "options", "says"),
    [
        ("", {"served": ("other",)}, {}, "it serves other, not chat"),
        ("", {"error": "it answered /v1/chat/completions with HTTP 500: oh"}, {}, "is up but does not serve: .*HTTP 500"),
        ("", {"missing": "llamacpp:requests_processing"}, {}, "without the metrics llamacpp:requests_processing,"),
        ("", {"speed": 4.9}, {}, "is up but slow: .* 4.9 tokens a second, where 5.0 is the least"),
        ("offloaded 20/33 layers to GPU", {}, {}, "computes on the CPU .*: offloaded 20/33 layers"),
        ("offloaded 9/33 layers to GPU", {}, {"gpu_layers": "10"}, "gpu_layers is 10.: offloaded 9/33 layers"),
        ("nothing of it", {}, {}, "tells of no layers on the GPU"),
    ],
)
def test_what_does_not_serve_as_it_should_is_told_and_not_recorded(asked, log, serving, options, says):
    with pytest.raises(NotServing, match=says):
        asked(log or "offloaded 33/33 layers to GPU", serving, **options)


def test_fewer_layers_are_enough_where_fewer_are_asked_for_and_none_are_sought_without_a_gpu(asked):
    asked("offloaded 10/33 layers to GPU", gpu_layers="10")
    asked("offloaded 33/33 layers to GPU", gpu_layers="99")
    asked("", gpu_layers="0")


def test_an_embedding_model_is_asked_for_an_embedding(asked):
    assert asked(serving={"error": "no chat"}, task="embedding")[1]["tokens_per_second"] == 300.0


def test_weights_that_are_not_in_the_memory_of_the_cards_are_told(asked):
    with pytest.raises(NotServing, match="uses 3000 MiB of its memory, where its weights alone take 4000 MiB"):
        asked(used=3000)


def test_memory_that_nobody_knows_of_or_asks_for_is_no_failure(asked):
    asked(used=None)
    asked(used=3000, gpu_mib=0)
