# SPDX-License-Identifier: GPL-3.0-or-later
"""The state exporter, against what the Kubernetes API answers."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
import urllib.request

import pytest

from tests import metrics

state = metrics.state()
POOL = {"name": "llm", "nodes": 2, "gpus_per_node": 2, "slots_per_gpu": 2, "slot_mib": 22702}
POOL |= {"eur_per_slot_hour": 0.5227, "eur_per_node_hour": 2.0907}
WHO = 'engineer="alice",namespace="llm-alice",engine="llama-cpp",model="org/m@1ae5b19"'


def node(name: str, ready: str = "True", slots: str | None = "4") -> dict:
    status = {"conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]}
    return {
        "metadata": {"name": name, "labels": {state.POOL: "llm"}},
        "status": status | {"allocatable": {"cpu": "4"} | ({state.GPU: slots} if slots else {})},
    }


def deployment(name: str = "alice-chat", namespace: str = "llm-alice", **annotations: str) -> dict:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {state.ENGINE: "llama-cpp", state.INSTANCE: name},
            "annotations": {state.MODEL: "org/m@1ae5b19"} | annotations,
        },
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": {"prometheus.io/scrape": "true"}}}},
        "status": {"availableReplicas": 1},
    }


def pod(namespace: str = "llm-alice", where: str | None = "n1", slots: tuple = ("1",), start: tuple = ()) -> dict:
    """A pod whose containers, and those that run before them, have these limits."""
    limits = [{"resources": {"limits": {state.GPU: number}} if number else {}} for number in slots]
    spec = {"containers": limits, "initContainers": [{"resources": {"limits": {state.GPU: number}}} for number in start]}
    return {
        "metadata": {
            "name": "alice-chat-1",
            "namespace": namespace,
            "labels": {state.ENGINE: "llama-cpp", state.INSTANCE: "alice-chat"},
            "annotations": {state.MODEL: "org/m@1ae5b19"},
        },
        "spec": spec | ({"nodeName": where} if where else {}),
    }


class Cluster:
    """What the API server answers by path; ``broken`` are paths that it refuses."""

    def __init__(self):
        ends = {state.KUBECONFIG: "2026-12-01T00:00:00Z"}
        namespace = {"metadata": {"name": "llm-alice", "labels": {state.ENGINEER: "alice"}, "annotations": ends}}
        self.items = {"namespaces": [namespace], "nodes": [node("n1"), node("n2")], "deployments": [deployment()], "pods": [pod()]}
        self.items["tokens"] = []
        self.record = {"pools": json.dumps([POOL])}
        self.broken: set[str] = set()
        self.asked: list[str] = []

    def read(self, path: str) -> dict:
        name = next(name for name, mine in state.PATHS.items() if mine == path)
        self.asked.append(name)
        if name in self.broken:
            raise urllib.error.HTTPError(path, 403, "Forbidden", {}, None)
        return {"data": self.record} if name == "platform" else {"items": self.items[name]}

    def lines(self) -> list[str]:
        """Samples without their prefix."""
        text = state.State(self.read).text()
        return [line.removeprefix(state.PREFIX) for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_cluster(cluster):
    assert cluster.lines() == [
        f'deployment_slots{{{WHO},deployment="alice-chat",node="n1",pool="llm",pod="alice-chat-1"}} 1',
        f'deployment_wanted{{{WHO},deployment="alice-chat"}} 1',
        f'deployment_ready{{{WHO},deployment="alice-chat"}} 1',
        f'deployment_scraped{{{WHO},deployment="alice-chat"}} 1',
        'pool_nodes_wanted{pool="llm"} 2',
        'pool_nodes_ready{pool="llm"} 2',
        'pool_gpus_per_node{pool="llm"} 2',
        'pool_slots_per_gpu{pool="llm"} 2',
        'pool_slots{pool="llm"} 8',
        'pool_slot_mib{pool="llm"} 22702',
        'slot_price_eur_per_hour{pool="llm"} 0.5227',
        'node_price_eur_per_hour{pool="llm"} 2.0907',
        'access_end_seconds{engineer="alice",namespace="llm-alice",what="kubeconfig"} 1796083200',
    ]


def test_nothing_is_deployed_and_the_pools_sleep(cluster):
    cluster.items |= {"nodes": [], "deployments": [], "pods": []}
    cluster.record["asleep"] = "2026-11-28T12:00:00Z"
    lines = cluster.lines()
    assert {'pool_nodes_wanted{pool="llm"} 0', 'pool_nodes_ready{pool="llm"} 0', 'pool_slots{pool="llm"} 0'} < {*lines}
    assert not [line for line in lines if line.startswith("deployment")]


def test_a_node_that_is_lost_or_has_no_plugin(cluster):
    cluster.items["nodes"] = [node("n1", ready="Unknown"), node("n2", slots=None)]
    assert {'pool_nodes_ready{pool="llm"} 1', 'pool_slots{pool="llm"} 0'} < {*cluster.lines()}


@pytest.mark.parametrize(
    ("made", "slots"),
    [
        (pod(slots=("1", None, "2")), 3),
        (pod(slots=("1",), start=("4",)), 4),
        (pod(slots=(None,)), None),
        (pod(where=None), None),
        (pod(namespace="nvidia"), None),
    ],
)
def test_slots_are_what_a_scheduled_pod_of_an_engineer_requests(cluster, made, slots):
    cluster.items["pods"] = [made]
    held = [line.split()[-1] for line in cluster.lines() if line.startswith("deployment_slots")]
    assert held == ([str(slots)] if slots else [])


def test_what_measures_in_a_deployments_place_holds_its_slots(cluster):
    bench = pod()
    bench["metadata"] = {"name": "alice-chat-bench-1", "namespace": "llm-alice", "labels": {state.BENCH: "alice-chat"}}
    cluster.items["pods"] = [bench]
    assert f'deployment_slots{{{WHO},deployment="alice-chat",node="n1",pool="llm",pod="alice-chat-bench-1"}} 1' in cluster.lines()
    cluster.items["deployments"] = []
    who = 'engineer="alice",namespace="llm-alice",deployment="alice-chat"'
    assert f'deployment_slots{{{who},node="n1",pool="llm",pod="alice-chat-bench-1"}} 1' in cluster.lines()


def test_only_unfinished_pods_are_asked_for():
    assert "fieldSelector=status.phase%21%3DSucceeded,status.phase%21%3DFailed" in state.PATHS["pods"]


def test_deployments_of_others_are_not_shown(cluster):
    cluster.items["deployments"] = [deployment(namespace="default")]
    assert not [line for line in cluster.lines() if line.startswith("deployment_wanted")]


def test_leases_and_tokens(cluster):
    cluster.items["deployments"] = [deployment(**{state.LEASE: "2026-12-01T00:00:00Z"})]
    ends = {"ends": "2026-12-02T00:00:00Z"}
    cluster.items["tokens"] = [
        {"metadata": {"name": "hf-token", "namespace": namespace}, "data": data}
        for namespace, data in (("llm-alice", ends), ("llm-bob", {}), ("default", ends))
    ]
    alice = 'engineer="alice",namespace="llm-alice"'
    assert f'lease_end_seconds{{{alice},deployment="alice-chat"}} 1796083200' in cluster.lines()
    tokens = [line for line in cluster.lines() if 'what="hub token"' in line]
    assert tokens == [f'access_end_seconds{{{alice},what="hub token"}} 1796169600']


def test_what_an_engineer_wrote_wrong_hides_nothing_of_others(cluster, capsys):
    cluster.items["deployments"] = [deployment(**{state.LEASE: "tomorrow", state.MODEL: 'a"}\n b\\'}), deployment("alice-b")]
    lines = cluster.lines()
    assert [line for line in lines if 'deployment="alice-b"' in line]
    assert any(r'model="a\"}\n b\\"' in line for line in lines)
    assert not [line for line in lines if line.startswith("lease")]
    assert "alice-chat in llm-alice says 'tomorrow', which is no time" in capsys.readouterr().err


@pytest.fixture
def get(cluster, capsys):
    """Status and text of a path of the running exporter."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), state.handler(state.State(cluster.read)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    yield get
    server.shutdown()
    server.server_close()


def test_scrapes_shortly_after_one_another_ask_once(cluster, get):
    assert get("/metrics") == get("/metrics")
    assert len(cluster.asked) == len(state.PATHS)


@pytest.mark.parametrize("what", [*state.PATHS])
def test_what_cannot_be_read_is_an_error_and_never_an_old_value(cluster, get, monkeypatch, what):
    monkeypatch.setattr(state, "KEEP", 0.0)
    assert get("/metrics")[0] == 200
    cluster.broken = {what}
    status, text = get("/metrics")
    assert status == 500
    assert "selfhosted_llm" not in text and "403" in text
    assert get("/health") == (200, "ok\n")
    cluster.broken = set()
    assert get("/metrics")[0] == 200


def test_other_paths(get):
    assert get("/")[0] == 404


def test_a_record_that_is_none_is_an_error(cluster, get):
    cluster.record = {"pools": "["}
    assert get("/metrics")[0] == 500
