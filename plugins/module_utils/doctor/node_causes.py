# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The closed list of causes why a GPU node does not advertise its cards, and the rules that find the one that holds.

A rule takes the evidence and returns what proves its cause, or an empty text. The rules are asked in the order of the list,
which is the order in which a node comes up, so that each may rely on what those before it have ruled out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..kube.ready import NO_IMAGE, NOT_MADE, node_is_ready
from .evidence import GPU, condition, untolerated
from .node_evidence import SETTLES, NodeEvidence, path

# What the plugin (v0.18, internal/plugin/factory.go, internal/rm/nvml_manager.go, cmd/nvidia-device-plugin/main.go) and containerd
# say on a node without NVIDIA's driver, or where no runtime brings it into the plugin's container.
_NO_DRIVER = re.compile(
    "Failed to initialize NVML|nvml init failed|Incompatible strategy detected|invalid device discovery strategy"
    "|only supported on NVML-based systems|libnvidia-ml|nvidia-container-cli|no runtime for",
    re.IGNORECASE,
)
_NO_DEVICES = "No devices found"
_UNHEALTHY = re.compile("unhealthy", re.IGNORECASE)


class Cause(NamedTuple):
    """One entry of the list.

    Attributes:
        name: identifies it, in files too.
        means: what it means, as the verb of a sentence on the node or pool.
        cure: what to do, as the imperative of a sentence.
        proof: the rule.
    """

    name: str
    means: str
    cure: str
    proof: Callable[[NodeEvidence], str]


class Finding(NamedTuple):
    """The cause that holds for a node, or for a pool where ``node`` is empty.

    Attributes:
        proof: the line, event or number that proves it.
    """

    pool: str
    node: str
    cause: Cause
    proof: str


def diagnose(evidence: NodeEvidence) -> Finding | None:
    """The first cause whose rule finds a proof; none where the node is as it must be."""
    if evidence.node and node_is_ready(evidence.node) and evidence.well:
        return None
    cause, proof = next((cause, proof) for cause in CAUSES if (proof := cause.proof(evidence)))
    return Finding(evidence.pool["name"], evidence.name, cause, proof)


def tell(findings: Iterable[Finding]) -> str:
    """The findings as sentences, one for nodes that lack the same."""
    nodes: dict[tuple[str, Cause, str], list[str]] = {}
    for pool, node, cause, proof in findings:
        nodes.setdefault((pool, cause, proof), []).append(node)
    return " ".join(
        f"{_subject(pool, names)} {cause.means}: {proof.rstrip('.')}; {cause.cure}." for (pool, cause, proof), names in nodes.items()
    )


def _subject(pool: str, names: list[str]) -> str:
    return f"Node {', '.join(names)} of pool {pool}" if any(names) else f"Pool {pool}"


def too_few(it: NodeEvidence) -> str:
    names = f" ({', '.join(it.there)})" if it.there else ""
    return "" if it.node else f"{len(it.there)} of {it.pool['nodes']} are there{names}"


def not_ready(it: NodeEvidence) -> str:
    lost = condition(it.node, "Ready", "False") or condition(it.node, "Ready", "Unknown")
    if lost:
        return lost.get("message") or lost["reason"]
    return "it is cordoned" if it.node["spec"].get("unschedulable") else "" if node_is_ready(it.node) else "its kubelet has not reported"


def no_plugin(it: NodeEvidence) -> str:
    beside = f", and something else advertises {it.allocatable} {GPU}" if it.allocatable else ""
    return "" if it.plugin else f"there is no DaemonSet {it.own}{beside}"


def not_selected(it: NodeEvidence) -> str:
    if it.pod:
        return ""
    wanted, labels = it.plugin["spec"]["template"]["spec"].get("nodeSelector", {}), it.node["metadata"].get("labels", {})
    lacks = [f"{key}={value}" for key, value in wanted.items() if labels.get(key) != value]
    return f"it lacks the label {', '.join(lacks)}, which {_desired(it)} selects" if lacks else ""


def taint(it: NodeEvidence) -> str:
    if it.pod:
        return ""
    taints = untolerated(it.node, it.plugin["spec"]["template"]["spec"].get("tolerations", ()))
    # Every DaemonSet tolerates what Kubernetes itself puts on nodes in trouble.
    foreign = [entry for entry in taints if not entry.startswith("node.kubernetes.io/")]
    return f"{', '.join(foreign)}, which {_desired(it)} does not name" if foreign else ""


def no_pod(it: NodeEvidence) -> str:
    if it.pod:
        return condition(it.pod, "PodScheduled", "False").get("message", "")
    if said := it.event("FailedCreate"):
        return said
    selective = "nodeAffinity" in it.plugin["spec"]["template"]["spec"].get("affinity", {})
    return f"{_desired(it)} has an affinity, which leaves it out" if selective else ""


def _desired(it: NodeEvidence) -> str:
    return f"DaemonSet {path(it.plugin)} (desired {it.plugin.get('status', {}).get('desiredNumberScheduled', 0)})"


def image(it: NodeEvidence) -> str:
    if it.waiting.get("reason") not in NO_IMAGE | {"ErrImagePull"}:
        return ""
    return it.event("Failed", saying="pull") or it.waiting.get("message") or it.container["image"]


def no_driver(it: NodeEvidence) -> str:
    if it.allocatable:  # what a former run said is over
        return ""
    said = [*it.lines, it.ended.get("message", ""), it.waiting.get("message", ""), it.event("FailedCreatePodSandBox")]
    return next((line.strip() for line in said if _NO_DRIVER.search(line)), "")


def not_made(it: NodeEvidence) -> str:
    if it.waiting.get("reason") in NOT_MADE:
        return it.waiting.get("message", it.waiting["reason"])
    return it.event("FailedMount", "FailedCreatePodSandBox") if it.waiting and not it.event("Started") else ""


def crash(it: NodeEvidence) -> str:
    down = it.ended and (it.age < SETTLES or not it.container["ready"])
    return f"exit code {it.ended['exitCode']}: {it.last_words or it.ended['reason']}" if down else ""


def starting(it: NodeEvidence) -> str:
    if it.age >= SETTLES:
        return ""
    if not it.pod:
        return f"{_desired(it)} has made no pod for it yet"
    return f"pod {path(it.pod)} {f'began {it.age:.0f} s ago' if it.begun else it.waiting.get('reason', 'is to begin')}"


def second_plugin(it: NodeEvidence) -> str:
    others = [path(plugin) for plugin in it.others if plugin is not it.plugin]
    return f"DaemonSet {', '.join(others)} beside {path(it.plugin)}, and {GPU} is {it.allocatable}" if others else ""


def renamed(it: NodeEvidence) -> str:
    shared = f"{GPU}.shared"
    slots = it.node["status"].get("allocatable", {}).get(shared, "0")
    return f"{shared} is {slots} in allocatable, and {GPU} {it.allocatable}" if slots != "0" else ""


def no_card(it: NodeEvidence) -> str:
    # The kubelet keeps the capacity for 5 minutes after a plugin's end.
    if it.allocatable or it.capacity and not any(_NO_DEVICES in line for line in it.lines):
        return ""
    return f"{GPU} is 0, and the plugin's last words are: {it.last_words or '(none)'}"


def unhealthy(it: NodeEvidence) -> str:
    if it.capacity <= it.allocatable:
        return ""
    said = next((f": {line}" for line in reversed(it.lines) if _UNHEALTHY.search(line)), "")
    return f"of {it.capacity} {GPU} in capacity {it.allocatable} are allocatable{said}"


def other_slicing(it: NodeEvidence) -> str:
    wanted = it.pool["slots_per_gpu"]
    if it.slots_per_gpu == wanted and not it.capacity % wanted:
        return ""
    cards = it.pool["gpus_per_node"]
    return f"{GPU} is {it.allocatable} where {cards} x {wanted} are wanted, and it is configured for {it.slots_per_gpu} a card"


def fewer_cards(it: NodeEvidence) -> str:
    cards, slots = it.pool["gpus_per_node"], it.pool["slots_per_gpu"]
    there = it.allocatable // slots
    return f"{GPU} is {it.allocatable} at {slots} a card, {there} of {cards} cards of {it.pool['instance_type']}" if there < cards else ""


def wrong_count(it: NodeEvidence) -> str:
    return f"{GPU} is {it.allocatable} in allocatable where {it.wanted} are wanted"


PLATFORM = "run playbooks/platform.yml"
LOOK = "restore what the line says is missing, or change what it says is forbidden"
CAUSES = (
    Cause("too_few", "has too few nodes", f"{PLATFORM}, whose sks_nodepool makes and awaits them", too_few),
    Cause(
        "not_ready",
        "is not ready",
        "look after its instance, delete it for the pool to replace, or uncordon the node",
        not_ready,
    ),
    Cause("no_plugin", "has no device plugin", f"{PLATFORM}, with nvidia_utilities_device_plugin true where another is there", no_plugin),
    Cause("not_selected", "is not selected by its device plugin", f"{PLATFORM}, which restores labels and selector", not_selected),
    Cause(
        "taint",
        "has a taint that its device plugin does not tolerate",
        f"write it into the pool's taints (sks_gpu_nodes_pools) and {PLATFORM}, or take it off the node",
        taint,
    ),
    Cause("no_pod", "gets no pod of its device plugin", LOOK, no_pod),
    Cause(
        "image",
        "cannot pull its device plugin's image",
        "correct nvidia_utilities_device_plugin_image, or let the nodes reach its registry",
        image,
    ),
    Cause(
        "no_driver",
        "has no NVIDIA driver that its device plugin finds",
        "wait where the node still installs it; else replace the node by one whose template has NVIDIA's driver and container toolkit",
        no_driver,
    ),
    Cause("not_made", "cannot start its device plugin", LOOK, not_made),
    Cause("crash", "has a device plugin that crashes", f"mend what its last words name, and {PLATFORM}", crash),
    Cause("starting", "waits for its device plugin", "wait", starting),
    Cause("second_plugin", "has a second device plugin", "remove one of the two, as they overwrite each other's count", second_plugin),
    Cause(
        "renamed",
        "advertises its slots under another name",
        f"turn renameByDefault off in the configuration of its device plugin, or {PLATFORM}, which does",
        renamed,
    ),
    Cause("no_card", "has no card that its device plugin finds", "look at the node with nvidia-smi, or replace it", no_card),
    Cause(
        "unhealthy",
        "has unhealthy cards",
        "look for the Xid in the plugin's log, and reboot the node, or replace it",
        unhealthy,
    ),
    Cause(
        "other_slicing", "has a device plugin with another time-slicing", f"{PLATFORM}, which restarts it with slots_per_gpu", other_slicing
    ),
    Cause("fewer_cards", "has fewer cards than its instance type", "look at the node with nvidia-smi, or replace it", fewer_cards),
    Cause(
        "wrong_count", "advertises another number of slots", "compare instance_type and slots_per_gpu in sks_gpu_nodes_pools", wrong_count
    ),
)
