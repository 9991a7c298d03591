# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a cluster, and which of it belongs to a deployment."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import examine
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.keys import GENERATE
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import EndpointError

PATIENT = examine.Patient("alice-a", "llama_cpp", "", True)
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


def metadata(name: str, made: str = "2026-01-01T00:00:00Z", instance: str = "alice-a", **more) -> dict:
    return {"name": name, "uid": f"uid of {name}", "creationTimestamp": made, "labels": {INSTANCE: instance}} | more


def deployment(claim: str = "alice-a") -> dict:
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "models", "persistentVolumeClaim": {"claimName": claim}}]
    template = {"spec": {"volumes": volumes}}
    return {"metadata": metadata("alice-a"), "spec": {"selector": {"matchLabels": {INSTANCE: "alice-a"}}, "template": template}}


def job(name: str, status: dict, made: str = "2026-01-01T00:00:00Z", **more) -> dict:
    return {"metadata": metadata(name, made, **more), "spec": {"selector": {"matchLabels": {"job": name}}}, "status": status}


def pod(name: str, labels: dict, made: str = "2026-01-01T00:00:00Z", state: dict | None = None, **more) -> dict:
    container = {"name": "server", "ready": False, "state": state or {"running": {}}} | more
    spec = {"containers": [{"name": "server", "ports": [{"containerPort": 8080}]}]}
    return {"metadata": metadata(name, made) | {"labels": labels}, "spec": spec, "status": {"containerStatuses": [container]}}


class Cluster:
    """A cluster with these objects by plural, which notes what is asked for logs."""

    def __init__(self, **objects):
        self.objects = objects
        self.logs: list[tuple[str, dict]] = []

    def request(self, method, path, query=None, **_rest):
        assert method == "GET"
        return {"items": self.objects.get(path.rpartition("/")[2], [])}

    def text(self, path, query):
        self.logs.append((path.split("/")[-2], query))
        return "its log"


def evidence(cluster: Cluster, patient: examine.Patient = PATIENT):
    return examine.Ward(cluster, "llm-alice", "").examine(patient)


def test_a_complete_download_leaves_the_word_to_the_newest_pod_of_the_deployment():
    pods = [pod("old", {INSTANCE: "alice-a"}), pod("new", {INSTANCE: "alice-a"}, "2026-01-02T00:00:00Z"), pod("loader", {"job": "j"})]
    leaving = pod("leaving", {INSTANCE: "alice-a"}, "2026-01-03T00:00:00Z")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-03T00:00:00Z"
    found = evidence(Cluster(deployments=[deployment()], jobs=[job("j", COMPLETE)], pods=[*pods, leaving]))
    assert found.workload is found.deployment and found.pod["metadata"]["name"] == "new"


def test_the_newest_download_of_the_volume_counts_until_it_is_complete():
    jobs = [job("first", COMPLETE), job("second", {}, "2026-01-02T00:00:00Z"), job("other", {}, "2026-01-03T00:00:00Z", instance="alice-b")]
    found = evidence(Cluster(deployments=[deployment()], jobs=jobs, pods=[pod("loader", {"job": "second"})]))
    assert found.job["metadata"]["name"] == "second" and found.pod["metadata"]["name"] == "loader"


def test_a_shared_volume_is_found_before_the_deployment_mounts_it():
    shared = job("j", {}, instance="cache-1", annotations={examine.ASKED: "llama_cpp org/model@main"})
    cluster = Cluster(jobs=[shared], persistentvolumeclaims=[{"metadata": metadata("cache-1")}])
    found = evidence(cluster, PATIENT._replace(asked="llama_cpp org/model@main"))
    assert found.job["metadata"]["name"] == "j" and found.claim["metadata"]["name"] == "cache-1"
    assert not evidence(cluster).job


def test_only_events_of_its_own_objects_count_in_order_of_time():
    events = [
        {"involvedObject": {"uid": "uid of new"}, "reason": "Killing", "eventTime": "2026-01-01T00:00:09.500000Z", "lastTimestamp": None},
        {"involvedObject": {"uid": "uid of new"}, "reason": "Pulled", "eventTime": None, "lastTimestamp": "2026-01-01T00:00:01Z"},
        {"involvedObject": {"uid": "uid of another"}, "reason": "Failed", "eventTime": None, "lastTimestamp": "2026-01-01T00:00:02Z"},
    ]
    found = evidence(Cluster(deployments=[deployment()], pods=[pod("new", {INSTANCE: "alice-a"})], events=events))
    assert [event["reason"] for event in found.events] == ["Pulled", "Killing"]


ENDED = {"terminated": {"exitCode": 1}}


@pytest.mark.parametrize(
    ("state", "last", "query"),
    [
        ({"running": {}}, {}, {"limitBytes": examine.HEAD}),
        ({"running": {}}, ENDED, {"tailLines": examine.TAIL, "previous": "true"}),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, ENDED, {"tailLines": examine.TAIL, "previous": "false"}),
        (ENDED, {}, {"tailLines": examine.TAIL, "previous": "false"}),
        ({"waiting": {"reason": "ImagePullBackOff"}}, {}, None),
    ],
)
def test_the_log_of_the_run_that_tells_is_read(state, last, query):
    cluster = Cluster(deployments=[deployment()], pods=[pod("new", {INSTANCE: "alice-a"}, state=state, lastState=last)])
    evidence(cluster)
    assert cluster.logs == ([("new", {"container": "server"} | query)] if query else [])


@pytest.mark.parametrize(
    ("error", "answer"), [(None, 200), (EndpointError("no", 401), 401), (EndpointError("no answer"), None), (KubeError("no"), None)]
)
def test_what_is_up_is_asked_with_its_key(monkeypatch, error, answer):
    asked = []

    class Endpoint:
        def __init__(self, connect, model, key):
            asked.append((model, key))

        def request(self, *_args, **_kwargs):
            if error:
                raise error

    monkeypatch.setattr(examine, "Endpoint", Endpoint)
    secrets = [
        {"metadata": metadata("other"), "data": {}},
        {"metadata": metadata("own", annotations={GENERATE: "key"}), "data": {"key": base64.b64encode(b"its key").decode()}},
    ]
    up = pod("new", {INSTANCE: "alice-a"}, ready=True)
    found = evidence(Cluster(deployments=[deployment()], pods=[up], secrets=secrets))
    assert found.answer == answer and asked == [("alice-a", "its key")]
    assert evidence(Cluster(deployments=[deployment()], pods=[pod("new", {INSTANCE: "alice-a"})])).answer is None
    assert len(asked) == 1
