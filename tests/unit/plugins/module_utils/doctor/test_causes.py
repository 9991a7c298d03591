# SPDX-License-Identifier: GPL-3.0-or-later
"""Each cause is found in what a real case of it left, recorded by tests/e2e/ailments.py, or in a recorded case changed by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.causes import CAUSES, diagnose
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import Evidence

REPOSITORY = Path(__file__).parents[5]
RECORDS = {path.stem: json.loads(path.read_text()) for path in (REPOSITORY / "tests/recorded/doctor").glob("*.json")}
# What PyTorch and vLLM say; llama.cpp's lines are in tests/recorded/llama_cpp.
CUDA_OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.17 GiB"


def recorded(cause: str, **changes) -> Evidence:
    return Evidence(**copy.deepcopy(RECORDS[cause]))._replace(**changes)


def healthy(**changes) -> Evidence:
    """A deployment that runs on the GPU and takes its key."""
    return recorded("cpu_fallback", log="load_tensors: offloaded 31/31 layers to GPU", answer=400, **changes)


def with_status(evidence: Evidence, **status) -> Evidence:
    """Evidence whose only container has another status."""
    evidence.pod["status"]["containerStatuses"][0].update(status)
    return evidence


def lost_node() -> Evidence:
    evidence = healthy()
    node = next(node for node in evidence.nodes if node["metadata"]["name"] == evidence.pod["spec"]["nodeName"])
    node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
    return evidence


def taken_away() -> Evidence:
    evidence = with_status(healthy(), ready=False, state={"terminated": {"exitCode": 137, "reason": "Error"}})
    evidence.pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    return evidence


# Cases that no sandbox has, or that are the absence of any.
CHANGED = {
    "asleep": recorded("no_slot", asleep="2026-11-28T12:00:00Z"),
    "absent": recorded("crash", deployment={}, job={}, pod={}, claim={}),
    "stopped": recorded("crash", deployment={"kind": "Deployment", "spec": {"replicas": 0}}, pod={}),
    "cuda_memory": recorded("crash", log=CUDA_OUT_OF_MEMORY),
    "evicted": taken_away(),
    "healthy": healthy(),
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
        "| cause | what it means | how it is recognised | what to change | what to do |",
        "|---|---|---|---|---|",
        *(
            f"| `{cause.name}` | {cause.means} | {cause.recognised} | {documented(cause.change)} | {cause.cure} |"
            for cause in CAUSES
        ),
    ]
    assert "\n".join(rows) in (REPOSITORY / "docs/doctor.md").read_text()


def documented(change: str | dict[str, str]) -> str:
    names = change.values() if isinstance(change, dict) else filter(None, [change])
    return ", ".join(f"`{name}`" for name in names)


@pytest.mark.parametrize(
    ("cause", "proof", "change"),
    [
        ("quota", "requested: requests.nvidia.com/gpu=3, used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=2", "llm_gpu"),
        ("taint", "node sandbox-worker2 has the taint nodepool=llm:NoSchedule", "llm_tolerations"),
        ("device_plugin", "nvidia.com/gpu is 0 in allocatable of sandbox-worker", ""),
        ("volume_unbound", "there is no storage class fast; the cluster has standard", "llm_storage_class"),
        ("volume_elsewhere", "its volume lies on node sandbox-worker: ", "llm_node_selector"),
        ("no_slot", "it wants 1, and of the pool's 4 not as many are free", "llm_gpu"),
        ("no_room", "1 Insufficient memory", "llm_resources"),
        ("image", 'localhost/llama-server:none: Failed to pull image "localhost/llama-server:none"', "llama_cpp_image"),
        ("hub_403", "HTTP 403: Access to model meta-llama/Llama-3.1-8B-Instruct is restricted", "llm_hf_token"),
        ("sha256", "SmolLM2-135M-Instruct.Q4_1.gguf arrived with a wrong sha256", "llm_hub"),
        ("host_memory", "its memory limit is 20Mi", "llm_resources"),
        ("probe_kill", "Container server failed startup probe, will be restarted", "llm_startup_seconds"),
        ("crash", "container server ended with exit code 1: error: invalid argument: --no-such-flag", "llm_extra_args"),
        ("cpu_fallback", "warning: no usable GPU found", "llama_cpp_gpu_layers"),
    ],
)
def test_it_is_proved_and_the_variable_named(cause, proof, change):
    found = diagnose(recorded(cause))
    assert proof in found.proof and found.change == change


def test_the_variable_is_that_of_the_container_that_fails():
    evidence = with_status(recorded("hub_403", log=""), state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    assert diagnose(evidence).change == "llm_download_resources"
    assert diagnose(recorded("image", engine="tgi")).change == "tgi_image"


def test_a_conversion_is_looked_at_once_the_files_are_there():
    evidence = recorded("hub_403", log="")
    spec, status = evidence.pod["spec"], evidence.pod["status"]
    spec["initContainers"], spec["containers"] = spec["containers"], [{"name": "convert"}]
    arrived = {"name": "download", "ready": True, "state": {"terminated": {"exitCode": 0}}}
    killed = {"name": "convert", "ready": False, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    status |= {"initContainerStatuses": [arrived], "containerStatuses": [killed]}
    found = diagnose(evidence)
    assert (found.cause.name, found.change) == ("host_memory", "llama_cpp_convert_resources")


def test_a_lost_node_explains_what_runs_on_it():
    found = diagnose(lost_node())
    assert found.cause.name == "node_not_ready" and "Kubelet stopped posting" in found.proof


def test_nodes_that_are_not_ready_explain_a_pod_that_none_takes():
    evidence = recorded("no_slot")
    for node in evidence.nodes:
        node["spec"]["unschedulable"] = True
    assert diagnose(evidence).proof == "of the nodes with selfhosted.llm/pool=llm none is ready: sandbox-worker2"


def test_another_node_without_the_taint_would_do():
    evidence = recorded("taint")
    evidence.nodes.append({**evidence.nodes[-1], "metadata": {"name": "other", "labels": {"selfhosted.llm/pool": "llm"}}, "spec": {}})
    assert diagnose(evidence).cause.name == "no_room"


def test_a_claim_that_waits_for_its_pod_is_not_to_blame():
    claim = {"metadata": {"name": "alice-chat"}, "spec": {"storageClassName": "standard"}, "status": {"phase": "Pending"}}
    assert diagnose(recorded("no_slot", claim=claim)).cause.name == "no_slot"


def test_a_volume_that_is_still_attached_elsewhere_is_told_from_one_that_cannot_be_mounted():
    events = [{"reason": "FailedAttachVolume", "message": 'Multi-Attach error for volume "pvc-1": it is used by pod(s) alice-b'}]
    evidence = with_status(recorded("not_made", events=events), state={"waiting": {"reason": "ContainerCreating"}})
    assert diagnose(evidence).cause.name == "volume_elsewhere"
    assert diagnose(evidence._replace(events=[{"reason": "FailedMount", "message": "no"}])).cause.name == "not_made"


def test_a_pod_that_is_forbidden_is_no_matter_of_the_quota():
    evidence = recorded("quota", events=[])
    evidence.deployment["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}]
    assert diagnose(evidence).cause.name == "not_made"


def test_a_former_kill_does_not_explain_a_crash():
    evidence = recorded("probe_kill")
    status = evidence.pod["status"]["containerStatuses"][0]
    for state in (status["state"], status["lastState"]):
        if "terminated" in state:
            state["terminated"]["exitCode"] = 1
    assert diagnose(evidence).cause.name == "crash"


def test_what_is_up_again_is_healthy():
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    assert diagnose(with_status(healthy(), lastState=ended)).cause.name == "healthy"


def test_a_failed_update_tells_although_the_former_model_serves():
    up = healthy()
    failed = recorded("hub_403", deployment=up.deployment)
    assert diagnose(failed).cause.name == "hub_403"


def test_a_gpu_is_demanded_only_where_it_is_asked_for():
    assert diagnose(recorded("cpu_fallback", on_gpu=False)).cause.name == "healthy"
    partial = healthy()._replace(log="offloaded 20/31 layers to GPU")
    assert diagnose(partial).cause.name == "cpu_fallback"
    partial.pod["spec"]["containers"][0]["args"] = ["--n-gpu-layers", "20"]
    assert diagnose(partial).cause.name == "healthy"


def test_the_time_that_is_left_is_said():
    evidence = with_status(recorded("starting", now="2026-11-28T15:00:00+00:00"), state={"running": {"startedAt": "2026-11-28T14:58:00Z"}})
    assert diagnose(evidence).proof == "started 120 s ago; 780 s left of the 900 s that it may take"


def test_a_download_on_its_way_says_how_far_it_is():
    on_its_way = recorded("hub_403", log="removed org/old, which nothing serves: 1.00 GiB\ndownloading: 42 % of 4.58 GiB")
    found = diagnose(with_status(on_its_way, state={"running": {"startedAt": "2026-11-28T14:58:00Z"}}))
    assert (found.cause.name, found.proof) == ("starting", "downloading: 42 % of 4.58 GiB")
