# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import desired, keys
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE, MANAGED_BY, MANAGER, path_of
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, KINDS, OWNED, engineer_rules

OWNER = desired.Owner("alice-chat", "alice", "llm-alice")


def state(*objects: dict) -> desired.DesiredState:
    return desired.DesiredState(None, OWNER, list(objects), True, lambda text, elapsed: None)


def obj(kind: str, api: str = "v1") -> dict:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "a"}}


def test_objects_get_their_owner_and_order():
    made = state(obj("Deployment", "apps/v1"), obj("Job", "batch/v1"), obj("Secret")).objects
    assert [item["kind"] for item in made] == ["Secret", "Job", "Deployment"]
    assert all(item["metadata"]["labels"] == OWNER.labels for item in made)
    assert all(item["metadata"]["namespace"] == "llm-alice" for item in made)


def test_a_cluster_wide_object_gets_no_namespace():
    (made,) = state(obj("Namespace")).objects
    assert "namespace" not in made["metadata"]


@pytest.mark.parametrize("unknown", [obj("Pod"), obj("Deployment", "extensions/v1beta1"), {"metadata": {"name": "a"}}])
def test_an_unknown_kind_is_a_sentence(unknown):
    with pytest.raises(KubeError, match="is not among the kinds"):
        state(unknown)


def test_without_a_cluster_everything_would_be_created():
    wanted = state(obj("Secret"), obj("Service"))
    wanted.apply(prune=True, timeout=1)
    assert [str(change) for change in wanted.changes] == [
        "Secret llm-alice/a created (not validated: its namespace or cluster does not exist yet)",
        "Service llm-alice/a created (not validated: its namespace or cluster does not exist yet)",
    ]





class Jobs:
    """A cluster where a deleted Job is there once more, while its pods end."""

    def __init__(self):
        self.log = []

    def request(self, method, path, query=None):
        self.log.append((method, path.rpartition("/")[2], query))
        if method == "GET" and len(self.log) > 2:
            raise KubeError("not found", 404)
        return {"kind": "Job"}


def test_a_job_that_runs_and_is_not_wanted_ends_before_anything_is_applied():
    def job(name: str, *conditions: str) -> dict:
        metadata = {"name": name, "namespace": "llm-alice"}
        return {"kind": "Job", "metadata": metadata, "status": {"conditions": [{"type": how, "status": "True"} for how in conditions]}}

    wanted = state(obj("Job", "batch/v1"))
    wanted.kube, wanted.check_mode = Jobs(), False
    owned = {desired.path_of(one): one for one in (job("a"), job("runs"), job("done", "Complete"), job("failed", "Failed"))}
    wanted._end_strays(owned, timeout=5)
    assert [one["metadata"]["name"] for one in owned.values()] == ["a", "done", "failed"]
    assert [str(change) for change in wanted.changes] == ["Job llm-alice/runs deleted"]
    assert wanted.kube.log == [("DELETE", "runs", {"propagationPolicy": "Foreground"})] + 2 * [("GET", "runs", None)]


@pytest.mark.parametrize(("present", "asked"), [("3Gi", "3Gi"), ("1Gi", "2Gi")])
def test_a_volume_claim_never_shrinks(present, asked):
    def claim(size: str) -> dict:
        return {"spec": {"resources": {"requests": {"storage": size}}}}

    assert desired._not_smaller(claim("2Gi"), claim(present)) == claim(asked)


def test_engineers_may_write_exactly_what_a_deployment_owns():
    writable = {
        resource for rule in engineer_rules() if "create" in rule["verbs"] for resource in rule["resources"] if "/" not in resource
    }
    assert writable == {kind.plural for kind in OWNED}
    assert {kind.plural for kind in KINDS} > writable


class Cluster:
    """A cluster in memory that lists by label, whatever the namespace, and takes every patch."""

    def __init__(self, *objects: dict):
        self.objects = {path_of(obj): obj for obj in objects}

    def request(self, method, path, body=None, query=None, _sort=None):
        if method == "PATCH":
            self.objects[path] = body
            return body
        if method == "DELETE":
            return self.objects.pop(path)
        if path in self.objects:
            return self.objects[path]
        kind = next((kind for kind in KINDS if kind.path() == path), None)
        if kind is None:
            raise KubeError("not found", 404)
        selector = set((query or {}).get("labelSelector", "").split(","))
        labelled = [obj for obj in self.objects.values() if obj["kind"] == kind.name]
        return {"items": [obj for obj in labelled if selector <= {"=".join(entry) for entry in obj["metadata"]["labels"].items()}]}


def platforms(kind: str, name: str, namespace: str | None = None, instance: str = "parts") -> dict:
    labels = {MANAGED_BY: MANAGER, INSTANCE: instance}
    metadata = {"name": name, "labels": labels} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": BY_NAME[kind].api, "kind": kind, "metadata": metadata}


def test_a_part_of_the_platform_that_is_turned_off_goes_with_all_its_kinds_wherever_they_are():
    record = platforms("ConfigMap", "parts-state", "here") | {"data": {"kinds": "ClusterRole PodMonitor Namespace"}}
    gone = [platforms("ClusterRole", "reader"), platforms("PodMonitor", "engines", "llm-alice"), platforms("Secret", "key", "llm-alice")]
    stays = [platforms("Namespace", "here"), platforms("PersistentVolumeClaim", "data", "here"), platforms("ClusterRole", "x", None, "y")]
    cluster = Cluster(record, *gone, *stays)
    wanted = desired.DesiredState(cluster, desired.Owner("parts", None, "here"), [platforms("Service", "s")], False, print)
    wanted.apply(prune=True, timeout=None)
    assert [change.name for change in wanted.changes if change.action == "deleted"] == ["engines", "key", "reader"]
    assert {obj["metadata"]["name"] for obj in cluster.objects.values()} == {"parts-state", "here", "data", "x", "s"}


def test_an_owner_that_wants_nothing_goes_with_its_record_last():
    record = platforms("ConfigMap", "parts-state", "here") | {"data": {"kinds": "ClusterRole"}}
    cluster = Cluster(record, platforms("ClusterRole", "reader"), platforms("Secret", "key", "llm-alice"))
    for deleted in (["key", "reader", "parts-state"], []):
        wanted = desired.DesiredState(cluster, desired.Owner("parts", None, "here"), [], False, print)
        wanted.apply(prune=True, timeout=None)
        assert [change.name for change in wanted.changes] == deleted


def test_keys_are_kept_where_nothing_is_pruned():
    key = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k", "annotations": {keys.GENERATE: "key"}}}
    cluster, owner = Cluster(), desired.Owner("parts", None, "here")
    desired.DesiredState(cluster, owner, [key], False, print).apply(prune=False, timeout=None)
    (first,) = cluster.objects.values()
    desired.DesiredState(cluster, owner, [key], False, print).apply(prune=False, timeout=None)
    assert list(cluster.objects.values()) == [first]
    assert keys.read(first)
