# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of GPU nodes, which DaemonSets are device plugins, and who holds slots."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import GPU
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import gpu_nodes
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError

READY = {"type": "Ready", "status": "True"}


def record(size: int) -> dict:
    return pool_record({"name": "llm", "instance_type": "gpu3.small", "size": size, "slots_per_gpu": 2})


def node(name: str, slots: int = 2, ready: bool = True) -> dict:
    status = {"allocatable": {GPU: str(slots)}, "conditions": [READY | {"status": str(ready)}]}
    return {"metadata": {"name": name, "labels": {}}, "spec": {}, "status": status}


def daemonset(name: str, namespace: str, image: str, path: str = gpu_nodes.SOCKETS) -> dict:
    pod = {
        "containers": [{"image": image}],
        "volumes": [{"hostPath": {"path": f"{path}/"}}, {"configMap": {"name": name}}, {"configMap": {"name": "none"}}],
    }
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid of {name}"}, "spec": {"template": {"spec": pod}}}


def pod(name: str, owner: dict, where: dict, **metadata) -> dict:
    about = {"name": name, "namespace": owner["metadata"]["namespace"], "uid": name, "creationTimestamp": "2026-11-28T18:00:00Z"}
    owners = {"ownerReferences": [{"uid": owner["metadata"]["uid"]}]}
    states = {"containerStatuses": [{"name": "plugin", "ready": True, "state": {"running": {"startedAt": "2026-11-28T18:00:00Z"}}}]}
    return {"metadata": about | owners | metadata, "spec": where, "status": states}


def event(uid: str, message: str, time: str) -> dict:
    return {
        "metadata": {"namespace": "nvidia"},
        "involvedObject": {"uid": uid},
        "reason": "Failed",
        "message": message,
        "lastTimestamp": time,
    }


class Cluster:
    """A cluster with these objects by path, which notes what is asked."""

    def __init__(self, nodes: list[dict], **objects: list[dict]):
        self.objects = {"nodes": nodes} | objects
        self.asked: list[str] = []

    def request(self, _method, path, query=None):
        self.asked.append(path)
        if path.endswith("configmaps/none"):
            raise KubeError("not found", 404)
        if "/configmaps/" in path:
            return {"data": {"config.yaml": "replicas: 2"}}
        namespace = path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else None
        items = self.objects.get(path.rpartition("/")[2], [])
        return {"items": [item for item in items if namespace in (None, item["metadata"].get("namespace", namespace))]}

    def text(self, path, query):
        if query["previous"] == "true":
            raise KubeError("there was none", 400)
        return f"log of {path.split('/')[-2]}"


def test_nodes_that_advertise_what_they_must_cost_three_requests():
    own = daemonset("device-plugin-llm", "nvidia", "localhost/plugin")
    pods = [pod(f"pod of {name}", own, {"nodeName": name}) for name in "ab"]
    cluster = Cluster([node("a"), node("b")], daemonsets=[own], pods=pods)
    assert [evidence.name for evidence in gpu_nodes.examine(cluster, [record(2)])] == ["a", "b"]
    assert cluster.asked == ["/api/v1/nodes", "/apis/apps/v1/daemonsets", "/api/v1/namespaces/nvidia/pods"]


def test_a_node_that_goes_does_not_count_where_there_are_enough():
    nodes = [node("a"), node("leaving", ready=False)]
    assert [evidence.name for evidence in gpu_nodes.examine(Cluster(nodes), [record(1)])] == ["a"]
    assert [evidence.name for evidence in gpu_nodes.examine(Cluster(nodes), [record(2)])] == ["a", "leaving"]
    missing = [evidence.name for evidence in gpu_nodes.examine(Cluster(nodes), [record(3)])]
    assert missing == ["a", "leaving", ""]
    assert not list(gpu_nodes.examine(Cluster([]), [record(0)]))


def test_what_is_known_of_a_nodes_plugins_is_added_where_it_lacks_something():
    own = daemonset("device-plugin-llm", "nvidia", "localhost/plugin")
    foreign = daemonset("plugin-daemonset", "gpu-operator", "nvcr.io/nvidia/k8s-device-plugin")
    others = [daemonset("dcgm", "nvidia", "nvidia", path="/var/lib/kubelet/pod-resources"), daemonset("sriov", "kube-system", "sriov")]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    pending = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}}
    pods = [
        pod("running", own, {"nodeName": "a"}),
        pod("pending", foreign, pending),
        pod("elsewhere", own, {"nodeName": "b"}),
        pod("leaving", own, {"nodeName": "a"}, deletionTimestamp="2026-11-28T18:00:00Z"),
    ]
    events = [
        event("running", "second", "2026-11-28T18:02:00Z"),
        event("uid of device-plugin-llm", "first", "2026-11-28T18:01:00Z"),
        event("elsewhere", "other", "2026-11-28T18:03:00Z"),
    ]
    cluster = Cluster([node("a", slots=0), node("b")], daemonsets=[own, foreign, *others], pods=pods, events=events)
    evidence, well = gpu_nodes.examine(cluster, [record(2)])
    assert [plugin["metadata"]["name"] for plugin in evidence.plugins] == ["device-plugin-llm", "plugin-daemonset"]
    assert {one["metadata"]["name"] for one in evidence.pods} == {"running", "pending"}
    assert [entry["message"] for entry in evidence.events] == ["first", "second"]
    assert (evidence.config, evidence.log) == ("replicas: 2", "log of running")
    assert (well.events, well.config, well.log) == ([], "", "")


def test_who_holds_slots():
    def tenant(name: str, slots: int, phase: str = "Running") -> dict:
        container = {"resources": {"limits": {GPU: str(slots)} if slots else {}}}
        return {"metadata": {"namespace": "llm-alice", "name": name}, "spec": {"containers": [container]}, "status": {"phase": phase}}

    pods = [tenant("chat", 2), tenant("proxy", 0), tenant("done", 1, "Succeeded")]
    assert gpu_nodes.holders(Cluster([], pods=pods), "a") == {"llm-alice/chat": 2}
