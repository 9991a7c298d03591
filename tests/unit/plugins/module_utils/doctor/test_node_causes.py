# SPDX-License-Identifier: GPL-3.0-or-later
"""Each cause is found in what a real case of it left, recorded by tests/e2e/node_ailments.py, or in a recorded case changed by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import GPU
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_causes import CAUSES, Finding, diagnose, tell
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_evidence import NodeEvidence

REPOSITORY = Path(__file__).parents[5]
RECORDS = {path.stem: json.loads(path.read_text()) for path in (REPOSITORY / "tests/recorded/gpu_nodes").glob("*.json")}
KLOG = "I1128 18:00:00.000000       1 "


def recorded(cause: str, **changes) -> NodeEvidence:
    return NodeEvidence(**copy.deepcopy(RECORDS[cause]))._replace(**changes)


def advertising(slots: int, capacity: int | None = None, **changes) -> NodeEvidence:
    """A node with one card of two slots, whose plugin has run for a while, and which advertises so many."""
    evidence = recorded("wrong_count", **changes)
    evidence.node["status"] |= {"allocatable": {GPU: str(slots)}, "capacity": {GPU: str(slots if capacity is None else capacity)}}
    return evidence


def renamed() -> NodeEvidence:
    evidence = advertising(0)
    evidence.node["status"]["allocatable"]["nvidia.com/gpu.shared"] = "2"
    return evidence


# Cases that the stand-in for NVIDIA's plugin has not.
CHANGED = {
    "renamed": renamed(),
    "unhealthy": advertising(
        1, capacity=2, log=f"{KLOG}health.go:169] XidCriticalError: Xid=48 on Device=GPU-1; marking device as unhealthy."
    ),
}


@pytest.mark.parametrize("cause", RECORDS)
def test_a_recorded_case_is_recognised(cause):
    found = diagnose(recorded(cause))
    assert found.cause.name == cause and found.proof


@pytest.mark.parametrize("cause", CHANGED)
def test_a_changed_case_is_recognised(cause):
    assert diagnose(CHANGED[cause]).cause.name == cause


def test_every_cause_has_a_case():
    assert RECORDS.keys() | CHANGED.keys() == {cause.name for cause in CAUSES}


def test_the_documented_list_is_this_one():
    rows = [
        "| cause | the node (or pool) ... | what to do |",
        "|---|---|---|",
        *(f"| `{cause.name}` | {cause.means} | {cause.cure} |" for cause in CAUSES),
    ]
    assert "\n".join(rows) in (REPOSITORY / "docs/gpu-nodes.md").read_text()


@pytest.mark.parametrize(
    ("cause", "proof"),
    [
        ("too_few", "1 of 2 are there (sandbox-worker)"),
        ("not_ready", "it is cordoned"),
        ("no_plugin", "there is no DaemonSet nvidia/device-plugin-default"),
        ("not_selected", "it lacks the label selfhosted.llm/pool=none, which DaemonSet nvidia/device-plugin-default (desired 0) selects"),
        ("taint", "dedicated=research:NoSchedule, which DaemonSet nvidia/device-plugin-default (desired 0) does not name"),
        ("no_pod", 'RuntimeClass "none" not found'),
        ("image", 'Failed to pull image "localhost/device-plugin:none"'),
        ("no_driver", "Incompatible strategy detected auto"),
        ("not_made", 'secret "none" not found'),
        ("crash", "exit code 1: unable to load config: yaml: line 2"),
        ("second_plugin", "DaemonSet kube-system/nvidia-device-plugin-daemonset beside nvidia/device-plugin-default"),
        ("no_card", "nvidia.com/gpu is 0, and the plugin's last words are: "),
        ("other_slicing", "nvidia.com/gpu is 4 where 1 x 2 are wanted, and it is configured for 4 a card"),
        ("fewer_cards", "nvidia.com/gpu is 2 at 2 a card, 1 of 2 cards of gpu3.medium"),
        ("wrong_count", "nvidia.com/gpu is 6 in allocatable where 2 are wanted"),
    ],
)
def test_it_is_proved(cause, proof):
    assert proof in diagnose(recorded(cause)).proof


@pytest.mark.parametrize(
    "line",
    [
        "E1128 18:00:00.000000       1 factory.go:94] Failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND.",
        "E1128 18:00:00.000000       1 main.go:189] error starting plugins: unable to validate flags: CDI --device-list-strategy options "
        "are only supported on NVML-based systems",
        "E1128 18:00:00.000000       1 main.go:189] error starting plugins: failed to initialize NVML: Driver Not Loaded",
    ],
)
def test_the_plugins_own_words_tell_that_there_is_no_driver(line):
    found = diagnose(recorded("crash", log=line))
    assert found.cause.name == "no_driver" and found.proof in line and not found.proof.startswith("E1128")


def test_a_runtime_that_the_node_lacks_is_its_toolkit():
    said = 'Failed to create pod sandbox: rpc error: unable to get OCI runtime for sandbox: no runtime for "nvidia" is configured'
    evidence = recorded("starting", events=[{"reason": "FailedCreatePodSandBox", "message": said}])
    assert diagnose(evidence).cause.name == "no_driver"


def test_a_driver_that_came_later_is_not_missed():
    former = "E1128 18:00:00.000000       1 factory.go:94] Failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND."
    assert diagnose(advertising(1, log=former)).cause.name != "no_driver"


def test_a_plugin_that_finds_no_card_says_so_while_the_kubelet_still_keeps_the_capacity():
    silent = f"{KLOG}main.go:394] No devices found. Waiting indefinitely."
    found = diagnose(advertising(0, capacity=2, log=silent))
    assert found.cause.name == "no_card" and found.proof.endswith("No devices found. Waiting indefinitely.")


def test_an_unhealthy_card_is_named_by_its_plugin():
    assert diagnose(CHANGED["unhealthy"]).proof.startswith("of 2 nvidia.com/gpu in capacity 1 are allocatable: XidCriticalError: Xid=48")


def test_what_the_plugin_runs_with_counts_before_what_is_declared():
    """Two slots are two cards that are not sliced as well as one that is."""
    begin = f"{KLOG}main.go:356] Running with config:\n"
    ran = begin + '{"sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": %d}]}}}'
    medium = recorded("fewer_cards").pool
    assert diagnose(advertising(2, pool=medium, log=ran % 2)).cause.name == "fewer_cards"
    assert diagnose(advertising(2, pool=medium, log=ran % 1)).cause.name == "other_slicing"
    assert diagnose(advertising(2, pool=medium, log=begin + '{"sharing": {"timeSlicing": {}}}')).cause.name == "other_slicing"


def test_a_plugin_of_others_is_taken_for_the_pools_own_where_that_is_not_there():
    evidence = recorded("second_plugin")
    foreign = [plugin for plugin in evidence.plugins if plugin["metadata"]["namespace"] != "nvidia"]
    others = evidence._replace(plugins=foreign, now="2026-11-29T00:00:00+00:00")
    found = diagnose(others)
    assert found.cause.name == "no_card"
    assert diagnose(others._replace(pods=[])).cause.name == "no_plugin"


def test_a_taint_that_came_after_the_plugins_pod_does_not_explain():
    evidence = advertising(1)
    evidence.node["spec"]["taints"] = [{"key": "dedicated", "value": "research", "effect": "NoSchedule"}]
    assert diagnose(evidence).cause.name == "other_slicing"


def test_what_kubernetes_puts_on_nodes_in_trouble_every_daemonset_tolerates():
    evidence = recorded("taint")
    evidence.node["spec"]["taints"] = [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]
    assert diagnose(evidence).cause.name == "starting"


def test_an_affinity_may_leave_the_node_out():
    evidence = recorded("no_pod", events=[])
    evidence.plugins[0]["spec"]["template"]["spec"]["affinity"] = {"nodeAffinity": {}}
    assert "has an affinity" in diagnose(evidence).proof


def test_a_lost_node_is_told_by_its_condition():
    lost = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    evidence = recorded("not_ready")
    evidence.node["status"]["conditions"] = [lost]
    assert diagnose(evidence).proof == "Kubelet stopped posting node status."


def test_a_node_that_advertises_what_it_must_is_well_whatever_its_plugin_said():
    assert diagnose(advertising(2, log="Failed to initialize NVML")) is None


def test_a_right_number_may_still_be_that_of_a_plugin_that_has_ended():
    evidence = advertising(2)
    state = evidence.pods[0]["status"]["containerStatuses"][0]["state"]
    state["running"]["startedAt"] = evidence.now.replace("+00:00", "Z")
    evidence.node["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-28T00:00:00Z"}]
    assert diagnose(evidence).cause.name == "starting"
    assert diagnose(evidence._replace(now="2026-11-29T00:00:00+00:00")) is None
    evidence.node["status"]["conditions"][0]["lastHeartbeatTime"] = state["running"]["startedAt"]
    assert diagnose(evidence) is None
    assert diagnose(evidence._replace(plugins=[], pods=[])) is None
    assert diagnose(evidence._replace(pods=[])).cause.name == "starting"


def test_nodes_that_lack_the_same_share_a_sentence():
    finding = diagnose(recorded("no_plugin"))
    findings = [finding, finding._replace(node="w2"), Finding("big", "", CAUSES[0], "0 of 1 are there")]
    assert tell(findings) == (
        "Node sandbox-worker, w2 of pool default has no device plugin: there is no DaemonSet nvidia/device-plugin-default; run "
        "playbooks/platform.yml, with nvidia_utilities_device_plugin true where another is there. Pool big has too few nodes: 0 of 1 are "
        "there; run playbooks/platform.yml, whose sks_nodepool makes and awaits them."
    )
