# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes of a node pool: which of them go first, what labels and taints they have from their pool, and who gives them their GPUs."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from .apply import MANAGED_BY, MANAGER
from .ready import node_is_ready

# SKS's own label, on every node of a pool: the pool's id.
POOL_ID = "node.exoscale.net/nodepool-id"
DEVICE_PLUGIN = re.compile(r"k8s-device-plugin|gpu-operator")
# What else NVIDIA's image of the device plugin can run.
OTHER_PROGRAMS = {"gpu-feature-discovery", "mps-control-daemon", "config-manager"}
# On a node, which keys of labels and taints its pool gave it, so that they go when the pool gives them no more.
GIVEN = "selfhosted.llm/given"
# How node feature discovery begins the names of its annotations; one lists its labels, those of its own prefix without it.
DISCOVERY, DISCOVERED, FEATURES = "nfd.node.kubernetes.io/", "nfd.node.kubernetes.io/feature-labels", "feature.node.kubernetes.io/"


class Marks(NamedTuple):
    """Labels of a node pool by key, and its taints as the API of Exoscale has them: ``{key: {value, effect}}``."""

    labels: dict[str, str]
    taints: dict[str, dict[str, str]]


def in_order_of_loss(nodes: list[dict], pods: dict[str, list[str]]) -> list[str]:
    """Names of live Nodes, those first that are missed least: not ready, then with few pods.

    Args:
        pods: names of the pods by node.
    """
    names = {node["metadata"]["name"]: node for node in nodes}
    return sorted(names, key=lambda name: (node_is_ready(names[name]), len(pods.get(name, ())), name))


def marked(node: dict, marks: Marks) -> dict[str, Any]:
    """The merge patch that gives a live Node these marks; empty where it has just them.

    It is needed because SKS gives a pool's labels and taints to new nodes only.
    """
    metadata, spec = node["metadata"], node.get("spec", {})
    annotation = metadata.get("annotations", {}).get(GIVEN)
    given = json.loads(annotation or '{"labels": [], "taints": []}')
    patch: dict[str, Any] = {"metadata": {}}

    labels: dict[str, str | None] = {key: value for key, value in marks.labels.items() if metadata["labels"].get(key) != value}
    labels |= {key: None for key in given["labels"] if key not in marks.labels and key in metadata["labels"]}
    if labels:
        patch["metadata"]["labels"] = labels

    present = spec.get("taints", [])
    foreign = [taint for taint in present if taint["key"] not in {*marks.taints, *given["taints"]}]
    taints = foreign + [{"key": key, **taint} for key, taint in marks.taints.items()]
    if _comparable(taints) != _comparable(present):
        patch["spec"] = {"taints": taints}

    wanted = json.dumps({"labels": sorted(marks.labels), "taints": sorted(marks.taints)})
    if annotation != wanted:
        patch["metadata"]["annotations"] = {GIVEN: wanted}
    if not patch["metadata"] and "spec" not in patch:
        return {}
    # Others write to nodes too: what they wrote meanwhile must not be lost with the list of taints.
    patch["metadata"]["resourceVersion"] = metadata["resourceVersion"]
    return patch


def undiscovered(node: dict) -> dict[str, Any]:
    """The merge patch that takes from a live Node what node feature discovery wrote there; empty where that is nothing."""
    annotations = [name for name in node["metadata"].get("annotations", {}) if name.startswith(DISCOVERY)]
    if not annotations:
        return {}
    listed = node["metadata"]["annotations"].get(DISCOVERED, "").split(",")
    labels = [name if "/" in name else FEATURES + name for name in listed if name]
    return {"metadata": {"annotations": dict.fromkeys(annotations), "labels": dict.fromkeys(labels)}}


def _comparable(taints: list[dict]) -> set[tuple[str, str, str]]:
    return {(taint["key"], taint.get("value", ""), taint["effect"]) for taint in taints}


def other_device_plugin(daemon_sets: list[dict], nodes: list[dict]) -> str:
    """What gives live Nodes their GPUs other than this collection, as the beginning of a sentence; empty where nothing does.

    Args:
        daemon_sets: all of the cluster, as they are.
        nodes: those of the GPU pools.
    """
    ours = [obj for obj in daemon_sets if obj["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER]
    for obj in (obj for obj in daemon_sets if obj not in ours):
        for container in obj["spec"]["template"]["spec"]["containers"]:
            if DEVICE_PLUGIN.search(container["image"]) and not OTHER_PROGRAMS & set(container.get("command", ())):
                return f"DaemonSet {obj['metadata']['namespace']}/{obj['metadata']['name']} runs {container['image']}"
    if any(obj["metadata"]["name"].startswith("device-plugin-") for obj in ours):
        return ""
    given = [node["metadata"]["name"] for node in nodes if node["status"].get("allocatable", {}).get("nvidia.com/gpu", "0") != "0"]
    return f"Node {given[0]} has nvidia.com/gpu to give, which no DaemonSet of ours brought" if given else ""
