# SPDX-License-Identifier: GPL-3.0-or-later
"""The test on a GPU node: where its Job runs, what it takes for a proof, and what is kept."""

from __future__ import annotations

import json

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_evidence import NodeEvidence
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import vectoradd
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.ready import State

TAINT = {"nodepool": {"value": "llm", "effect": "NoSchedule"}}
POOL = pool_record({"name": "llm", "instance_type": "gpu3.small", "size": 1, "taints": TAINT})
TEST = vectoradd.Vectoradd("vectoradd", [], 60)
SAMPLE = "[Vector addition of 50000 elements]\nCopy output data from the CUDA device to the host memory\n%s\nDone\n"


def node(name: str = "w1", uid: str = "1") -> NodeEvidence:
    labels = {"kubernetes.io/hostname": f"{name}.host", "nvidia.com/gpu.product": "NVIDIA-A40"}
    return NodeEvidence(POOL, "2026-11-28T18:00:00+00:00", [name], {"metadata": {"name": name, "uid": uid, "labels": labels}})


class Cluster:
    """A cluster in which a test's pod printed this, and in which a ConfigMap of results may be kept."""

    def __init__(self, log: str = "", kept: dict | None = None):
        self.log = log
        self.kept = kept

    def request(self, _method, path, *_rest, **_query):
        if path.endswith("/pods"):
            return {"items": [{"metadata": {"name": "pod"}}]}
        if "/configmaps/" in path:
            if self.kept is None:
                raise KubeError("not found", 404)
            return {"data": {name: json.dumps(result) for name, result in self.kept.items()}}
        return {"status": {"startTime": "2026-11-28T18:00:00Z", "completionTime": "2026-11-28T18:00:07Z"}}

    def text(self, *_args):
        return self.log


def finish(monkeypatch, state: State, log: str = "", said: str = "starting") -> dict:
    def wait(_kube, _live, _timeout, report):
        report(said, 0)
        return state

    monkeypatch.setattr(vectoradd.ready, "wait", wait)
    live = TEST.job(node()) | {"spec": {"selector": {"matchLabels": {"job-name": "x"}}}}
    return TEST.finish(Cluster(log), node(), live, lambda text, elapsed: None)


def test_the_job_is_pinned_to_its_node_and_asks_as_an_engine_does():
    job = TEST.job(node())
    pod = job["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["w1.host"]}]
    assert "nodeName" not in pod and pod["tolerations"] == POOL["tolerations"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1} and "command" not in container
    assert job["metadata"]["namespace"] == "nvidia" and job["spec"]["backoffLimit"] == 0


def test_a_command_replaces_the_images_own():
    (container,) = TEST._replace(command=["echo", "hi"]).job(node())["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["echo", "hi"]


def test_it_passes_by_its_exit_code_and_its_words(monkeypatch):
    result = finish(monkeypatch, State(True, False, "complete"), SAMPLE % "Test PASSED")
    assert (result["passed"], result["seconds"], result["words"], result["card"]) == (True, 7, "Test PASSED", "NVIDIA-A40")


@pytest.mark.parametrize("log", [SAMPLE % "Result verification failed at element 0!", "", "Test PASSED?\n"])
def test_an_exit_code_without_the_words_is_no_proof(monkeypatch, log):
    result = finish(monkeypatch, State(True, False, "complete"), log)
    assert not result["passed"] and result["words"].startswith("it did not say 'Test PASSED', but ")


def test_words_without_the_exit_code_are_no_proof(monkeypatch):
    result = finish(monkeypatch, State(False, True, "container vectoradd: exit code 1: no CUDA-capable device"), SAMPLE % "Test PASSED")
    assert not result["passed"] and result["words"] == "container vectoradd: exit code 1: no CUDA-capable device"


def test_a_test_that_does_not_end_has_failed(monkeypatch):
    result = finish(monkeypatch, State(False, False, "starting"))
    assert not result["passed"] and result["words"] == "it has not ended after 60 s: starting"


def test_a_slot_that_is_taken_meanwhile_is_not_waited_for(monkeypatch):
    with pytest.raises(vectoradd.Taken):
        finish(monkeypatch, State(False, False, ""), said="no node takes the pod: 0/3 nodes are available: 1 Insufficient nvidia.com/gpu.")


def test_only_results_of_these_very_nodes_and_this_test_count(monkeypatch):
    result = finish(monkeypatch, State(True, False, "complete"), SAMPLE % "Test PASSED")
    cluster = Cluster(kept={"w1": result, "gone": result})
    assert vectoradd.kept(cluster, TEST, [node()]) == {"w1": result}
    assert vectoradd.kept(cluster, TEST, [node(uid="2")]) == {}
    assert vectoradd.kept(cluster, TEST._replace(image="another"), [node()]) == {}
    assert vectoradd.kept(Cluster(), TEST, [node()]) == {}
