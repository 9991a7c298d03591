# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import GIVEN, Marks, in_order_of_loss, marked, undiscovered

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
