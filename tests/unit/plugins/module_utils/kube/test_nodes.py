# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import (
    GIVEN,
    Marks,
    in_order_of_loss,
    marked,
    other_device_plugin,
    undiscovered,
)

POOL = Marks({"role": "llm"}, {"nodepool": {"value": "llm", "effect": "NoSchedule"}})
# What the node has of itself, and what somebody else gave it.
NODE = {
    "metadata": {"name": "n", "resourceVersion": "7", "labels": {"kubernetes.io/os": "linux"}},
    "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]},
}


def patched(node: dict, patch: dict) -> dict:
    """The node after a merge patch."""
    node = copy.deepcopy(node)
    for name in ("labels", "annotations"):
        merged = node["metadata"].get(name, {}) | patch["metadata"].get(name, {})
        node["metadata"][name] = {key: value for key, value in merged.items() if value is not None}
    node["spec"] |= patch.get("spec", {})
    return node


def test_idle_nodes_go_before_busy_ones_and_broken_ones_first():
    def node(name: str, ready: str = "True", **spec) -> dict:
        return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    nodes = [node("busy"), node("idle"), node("broken", "False"), node("cordoned", unschedulable=True)]
    pods = {"busy": ["llm-alice/chat"], "broken": ["llm-bob/chat"]}
    assert in_order_of_loss(nodes, pods) == ["cordoned", "broken", "idle", "busy"]


def test_a_node_gets_what_its_pool_gives_once():
    node = patched(NODE, marked(NODE, POOL))
    assert node["metadata"]["labels"] == {"kubernetes.io/os": "linux", "role": "llm"}
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["node.kubernetes.io/not-ready", "nodepool"]
    assert marked(node, POOL) == {}


def test_what_the_pool_gives_no_more_goes_and_the_rest_stays():
    node = patched(NODE, marked(NODE, POOL))
    bare = patched(node, marked(node, Marks({}, {})))
    assert bare["metadata"]["labels"] == NODE["metadata"]["labels"]
    assert bare["spec"]["taints"] == NODE["spec"]["taints"]
    assert marked(bare, Marks({}, {})) == {}


def test_a_changed_value_replaces_the_old_one():
    node = patched(NODE, marked(NODE, POOL))
    other = Marks({"role": "chat"}, {"nodepool": {"value": "llm", "effect": "NoExecute"}})
    node = patched(node, marked(node, other))
    assert node["metadata"]["labels"]["role"] == "chat"
    assert node["spec"]["taints"][1:] == [{"key": "nodepool", "value": "llm", "effect": "NoExecute"}]


def test_a_new_node_that_sks_marked_is_only_remembered():
    node = patched(NODE, marked(NODE, POOL))
    del node["metadata"]["annotations"]
    assert list(marked(node, POOL)["metadata"]) == ["annotations", "resourceVersion"] and "spec" not in marked(node, POOL)
    assert GIVEN in marked(node, POOL)["metadata"]["annotations"]


def test_what_feature_discovery_wrote_is_taken_back_and_nothing_else():
    annotations = {"nfd.node.kubernetes.io/feature-labels": "cpu-cpuid.AVX2,nvidia.com/gpu.count", "nfd.node.kubernetes.io/x": "", "o": "1"}
    node = {"metadata": {"name": "n", "labels": {"role": "llm"}, "annotations": annotations}}
    assert undiscovered(node) == {
        "metadata": {
            "annotations": {"nfd.node.kubernetes.io/feature-labels": None, "nfd.node.kubernetes.io/x": None},
            "labels": {"feature.node.kubernetes.io/cpu-cpuid.AVX2": None, "nvidia.com/gpu.count": None},
        }
    }
    assert undiscovered({"metadata": {"name": "n", "annotations": {"o": "1"}}}) == {}


def daemon_set(name: str, image: str, command: str | None = None, managed_by: str = "Helm") -> dict:
    container = {"image": image} | ({"command": [command]} if command else {})
    return {
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"app.kubernetes.io/managed-by": managed_by}},
        "spec": {"template": {"spec": {"containers": [{"image": "pause:3"}, container]}}},
    }


def with_gpus(count: str) -> dict:
    return {"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": count}}}


IMAGE = "nvcr.io/nvidia/k8s-device-plugin:v0.17.0"
OURS = daemon_set("device-plugin-llm", IMAGE, managed_by="selfhosted.llm")


@pytest.mark.parametrize(
    ("daemon_sets", "nodes", "found"),
    [
        ([daemon_set("nvidia", IMAGE)], [], f"DaemonSet kube-system/nvidia runs {IMAGE}"),
        ([OURS, daemon_set("nvidia", IMAGE)], [with_gpus("2")], f"DaemonSet kube-system/nvidia runs {IMAGE}"),
        ([daemon_set("op", "nvcr.io/nvidia/gpu-operator:v25")], [], "DaemonSet kube-system/op runs nvcr.io/nvidia/gpu-operator:v25"),
        ([], [with_gpus("0"), with_gpus("2")], "Node n1 has nvidia.com/gpu to give, which no DaemonSet of ours brought"),
    ],
)
def test_who_gives_nodes_their_gpus_is_found(daemon_sets, nodes, found):
    assert other_device_plugin(daemon_sets, nodes) == found


@pytest.mark.parametrize(
    ("daemon_sets", "nodes"),
    [
        ([], []),
        ([], [with_gpus("0")]),
        ([OURS], [with_gpus("2")]),
        ([daemon_set("gfd", IMAGE, "gpu-feature-discovery"), daemon_set("calico", "calico/node:v3.30")], []),
    ],
)
def test_nobody_else_gives_them(daemon_sets, nodes):
    assert other_device_plugin(daemon_sets, nodes) == ""
