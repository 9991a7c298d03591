# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The closed list of causes why a deployment does not answer, and the rules that find the one that holds.

A rule takes the evidence and returns what proves its cause, or an empty text. The rules are asked in the order of the list,
which is the order in which a deployment comes up, so that each may rely on what those before it have ruled out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from signal import SIGKILL, SIGTERM
from typing import NamedTuple

from .. import engine_log
from ..kube.ready import NO_IMAGE, NOT_MADE, has_ended, node_is_ready
from .evidence import GPU, Evidence, condition, untolerated


class Cause(NamedTuple):
    """One entry of the list.

    Attributes:
        name: identifies it, in the JSON file too.
        means: what it means, as a sentence.
        recognised: by what, as a part of a sentence.
        change: the variable to change, by the container that fails where it differs; empty where no variable helps.
        cure: what to do.
        proof: the rule.
        well: whether nothing needs to be done.
    """

    name: str
    means: str
    recognised: str
    change: str | dict[str, str]
    cure: str
    proof: Callable[[Evidence], str]
    well: bool = False


class Finding(NamedTuple):
    """The cause that holds for a deployment.

    Attributes:
        proof: the line, event or number that proves it.
        change: the variable to change; empty where none helps.
    """

    cause: Cause
    proof: str
    change: str


def diagnose(evidence: Evidence) -> Finding:
    """The first cause whose rule finds a proof; the last one always does."""
    cause, proof = next((cause, proof) for cause in CAUSES if (proof := cause.proof(evidence)))
    change = cause.change if isinstance(cause.change, str) else cause.change.get(evidence.container.get("name", ""), "")
    return Finding(cause, proof, change.replace("<engine>", evidence.engine))


def asleep(it: Evidence) -> str:
    return f"asleep since {it.asleep}" if it.asleep and not it.ready else ""


def absent(it: Evidence) -> str:
    return "" if it.workload else "there is neither a Deployment nor a download Job"


def stopped(it: Evidence) -> str:
    return "the Deployment has 0 replicas" if it.workload is it.deployment and not it.deployment["spec"].get("replicas", 1) else ""


def quota(it: Evidence) -> str:
    refused = _refused(it)
    return refused if "exceeded quota" in refused else ""


def _refused(it: Evidence) -> str:
    """Why the API server takes no pod of the workload; empty where it does."""
    return "" if it.pod else condition(it.workload, "ReplicaFailure", "True").get("message") or it.event("FailedCreate")


def node_not_ready(it: Evidence) -> str:
    if name := it.pod.get("spec", {}).get("nodeName"):
        node = next((node for node in it.nodes if node["metadata"]["name"] == name), None)
        if node is None:
            return f"the pod's node {name} is gone"
        lost = condition(node, "Ready", "False") or condition(node, "Ready", "Unknown")
        return f"the pod's node {name} is not ready: {lost.get('message') or lost.get('reason')}" if lost else ""
    if not it.unscheduled or any(map(node_is_ready, it.pool)):
        return ""
    selector = ", ".join(f"{key}={value}" for key, value in it.pod["spec"].get("nodeSelector", {}).items())
    names = ", ".join(node["metadata"]["name"] for node in it.pool)
    return f"of the nodes with {selector} none is ready: {names}" if names else f"no node has the label {selector}"


def taint(it: Evidence) -> str:
    if not it.unscheduled:
        return ""
    ready = list(filter(node_is_ready, it.pool))
    lacking = {node["metadata"]["name"]: untolerated(node, it.pod["spec"].get("tolerations", ())) for node in ready}
    return "; ".join(f"node {name} has the taint {taints[0]}" for name, taints in lacking.items()) if all(lacking.values()) else ""


def device_plugin(it: Evidence) -> str:
    slots = _slots(it)
    names = ", ".join(slots)
    return f"{GPU} is 0 in allocatable of {names}" if it.unscheduled and _wanted(it) and not any(slots.values()) else ""


def _slots(it: Evidence) -> dict[str, int]:
    """What the ready nodes of the pool advertise."""
    return {node["metadata"]["name"]: int(node["status"].get("allocatable", {}).get(GPU, 0)) for node in it.pool if node_is_ready(node)}


def _wanted(it: Evidence) -> int:
    """The GPU slots that the pod asks for."""
    return sum(int(one.get("resources", {}).get("limits", {}).get(GPU, 0)) for one in it.pod.get("spec", {}).get("containers", ()))


def volume_unbound(it: Evidence) -> str:
    if not it.unscheduled or not it.claim or it.claim.get("status", {}).get("phase") == "Bound":
        return ""
    name, wanted = it.claim["metadata"]["name"], it.claim["spec"].get("storageClassName")
    if wanted not in it.storage_classes and (wanted or not any(it.storage_classes.values())):
        lacks = f"there is no storage class {wanted}" if wanted else "no storage class is the default"
        return f"claim {name}: {lacks}; the cluster has {', '.join(it.storage_classes) or 'none'}"
    failed = it.event("ProvisioningFailed", "FailedBinding") or ("unbound" in it.unscheduled and it.unscheduled)
    return f"claim {name}: {failed}" if failed else ""


def volume_elsewhere(it: Evidence) -> str:
    conflict = re.search("volume node affinity conflict|didn't match PersistentVolume's node affinity", it.unscheduled)
    said = it.unscheduled if conflict else it.event("FailedAttachVolume", saying="Multi-Attach") if it.waiting else ""
    node = it.claim.get("metadata", {}).get("annotations", {}).get("volume.kubernetes.io/selected-node")
    return f"its volume lies on node {node}: {said}" if said and node else said


def no_slot(it: Evidence) -> str:
    if f"Insufficient {GPU}" not in it.unscheduled:
        return ""
    total = sum(_slots(it).values())
    return f"it wants {_wanted(it)}, and of the pool's {total} not as many are free on one node: {it.unscheduled}"


def no_room(it: Evidence) -> str:
    return it.unscheduled


def evicted(it: Evidence) -> str:
    status = it.pod.get("status", {})
    return f"{status['reason']}: {status.get('message', '')}" if status.get("phase") == "Failed" and "reason" in status else ""


def image(it: Evidence) -> str:
    if it.waiting.get("reason") not in NO_IMAGE | {"ErrImagePull"}:
        return ""
    return f"{it.spec.get('image')}: {it.event('Failed', saying='pull') or it.waiting.get('message') or it.waiting['reason']}"


def not_made(it: Evidence) -> str:
    if it.waiting.get("reason") in NOT_MADE:
        return it.waiting.get("message", it.waiting["reason"])
    return _refused(it) or (it.event("FailedMount", "FailedCreatePodSandBox") if it.waiting and not it.event("Started") else "")


def hub_401(it: Evidence) -> str:
    return _said_by_download(it, "HTTP 401")


def hub_403(it: Evidence) -> str:
    return _said_by_download(it, "HTTP 403")


def hub_404(it: Evidence) -> str:
    return _said_by_download(it, "HTTP 404")


def sha256(it: Evidence) -> str:
    return _said_by_download(it, "arrived with a wrong")


def hub_unreachable(it: Evidence) -> str:
    return _said_by_download(it, "could not be fetched")


def _said_by_download(it: Evidence, text: str) -> str:
    return it.last_words if it.ended and it.container["name"] == "download" and text in it.last_words else ""


def volume_full(it: Evidence) -> str:
    full = re.compile("the volume (is|became) full|the volume has .* free|No space left on device")
    return next((line for line in (it.last_words, engine_log.last_error(it.log)) if it.ended and full.search(line)), "")


def host_memory(it: Evidence) -> str:
    if it.ended.get("reason") == "OOMKilled":
        limit = it.spec.get("resources", {}).get("limits", {}).get("memory", "none")
        return f"container {it.container['name']} was killed by the kernel (OOMKilled); its memory limit is {limit}"
    return it.last_words if it.ended and "was killed, as happens where memory runs out" in it.last_words else ""


def cuda_memory(it: Evidence) -> str:
    return engine_log.out_of_gpu_memory(it.log or it.last_words) if it.ended else ""


def probe_kill(it: Evidence) -> str:
    stopped_from_outside = it.ended.get("exitCode") in (0, 128 + SIGKILL, 128 + SIGTERM)  # a server does not end by itself with 0
    return it.event("Killing", saying="probe") if stopped_from_outside else ""


def crash(it: Evidence) -> str:
    if not it.ended:
        return ""
    line = engine_log.last_error(it.log) or it.last_words or it.ended.get("reason", "")
    return f"container {it.container['name']} ended with exit code {it.ended['exitCode']}: {line}"


def job_failed(it: Evidence) -> str:
    failed = it.workload.get("kind") == "Job" and has_ended(it.workload, "Failed")
    return f"Job {it.job['metadata']['name']} failed: {condition(it.job, 'Failed', 'True').get('message', '')}" if failed else ""


def wrong_key(it: Evidence) -> str:
    return "the endpoint answers HTTP 401 to the key in its Secret" if it.ready and it.answer == 401 else ""


def cpu_fallback(it: Evidence) -> str:
    layers = it.argument("--n-gpu-layers") or "all"
    return engine_log.off_gpu(it.log, layers) if it.ready and it.on_gpu and _wanted(it) else ""


def not_answering(it: Evidence) -> str:
    return it.event("Unhealthy", saying="Readiness") if it.container.get("started") and not it.ready else ""


def starting(it: Evidence) -> str:
    if it.ready:
        return ""
    if not it.pod:
        return "waiting for a pod"
    running = it.container.get("state", {}).get("running")
    if not running:
        return f"waiting: {it.waiting.get('message') or it.waiting.get('reason') or 'the pod is new'}"
    if it.workload is it.job:
        return it.log.strip().rpartition("\n")[2] or f"container {it.container['name']} has begun"
    seconds = it.seconds_since(running["startedAt"])
    return f"started {seconds:.0f} s ago; {max(it.budget - seconds, 0):.0f} s left of the {it.budget} s that it may take"


def healthy(it: Evidence) -> str:
    return "its pod is ready, and its endpoint takes the key" if it.answer else "its pod is ready"


RUN_AGAIN = "Run the playbook again."
IMAGE = {"server": "<engine>_image", "download": "llm_download_image", "convert": "llama_cpp_convert_image"}
MEMORY = {"server": "llm_resources", "download": "llm_download_resources", "convert": "llama_cpp_convert_resources"}
CAUSES = (
    Cause(
        "asleep",
        "The platform's GPU pools sleep.",
        "the platform's record",
        "",
        "The admin wakes them with playbooks/wake.yml.",
        asleep,
        well=True,
    ),
    Cause(
        "absent",
        "It was never deployed, or was removed.",
        "no Deployment of its name and no download Job of its volume",
        "",
        "Run playbooks/deploy.yml.",
        absent,
    ),
    Cause(
        "stopped",
        "It is told to keep everything but the running engine.",
        "0 replicas in the Deployment",
        "llm_replicas",
        "Set it to 1 to run it.",
        stopped,
        well=True,
    ),
    Cause(
        "quota",
        "The engineer's quota has no room for it.",
        "the API server's refusal of its pod",
        "llm_gpu",
        "Take a smaller share, stop another deployment (llm_replicas: 0), or ask the admin for a larger quota (engineer_accounts).",
        quota,
    ),
    Cause(
        "node_not_ready",
        "Its node is not ready, or its pool has none.",
        "the condition Ready of the nodes that its node selector allows",
        "llm_node_selector",
        "Where the selector is right, the admin looks after the node or the pool's size (sks_gpu_nodes_pools).",
        node_not_ready,
    ),
    Cause(
        "taint",
        "It does not tolerate a taint of all its nodes.",
        "the taints of the ready nodes that its node selector allows",
        "llm_tolerations",
        f"Tolerate it there, or have the admin write it into sks_gpu_nodes_pools, from where all deployments know it. {RUN_AGAIN}",
        taint,
    ),
    Cause(
        "device_plugin",
        "Its nodes do not advertise their GPUs.",
        "no nvidia.com/gpu in allocatable of the ready nodes that its node selector allows",
        "",
        "The admin runs playbooks/platform.yml, which installs NVIDIA's device plugin, and looks at its pods in the namespace nvidia.",
        device_plugin,
    ),
    Cause(
        "volume_unbound",
        "Its volume cannot be made.",
        "the claim's storage class, which does not exist, or the provisioner's event",
        "llm_storage_class",
        "Name a class of this cluster, remove the claim (llm_remove_volumes), as its class cannot change, and run the playbook again.",
        volume_unbound,
    ),
    Cause(
        "volume_elsewhere",
        "Its volume can only be mounted on another node.",
        "the scheduler's words on the volume's node affinity, or the event Multi-Attach",
        "llm_node_selector",
        "Let it run where its volume lies, or remove the volume (llm_remove_volumes): its weights are then downloaded anew.",
        volume_elsewhere,
    ),
    Cause(
        "no_slot",
        "All GPU slots of its pool are taken.",
        "the scheduler's words Insufficient nvidia.com/gpu",
        "llm_gpu",
        "Wait, stop a deployment (llm_replicas: 0), or ask the admin for another node (size in sks_gpu_nodes_pools).",
        no_slot,
    ),
    Cause(
        "no_room",
        "No node has what else it asks for, mostly CPU or memory.",
        "any other words of the scheduler",
        "llm_resources",
        f"Ask for less, in llm_download_resources where it is the download. {RUN_AGAIN}",
        no_room,
    ),
    Cause(
        "evicted",
        "Its node refused the pod, or took it away.",
        "the reason of a failed pod, such as Evicted or UnexpectedAdmissionError",
        MEMORY,
        f"Where memory or storage ran out ask for what it needs; else the admin looks after the node. {RUN_AGAIN}",
        evicted,
    ),
    Cause(
        "image",
        "Its image cannot be fetched.",
        "the waiting container's reason (ErrImagePull, ImagePullBackOff, InvalidImageName) and the kubelet's event",
        IMAGE,
        f"Correct it; llm_pull_secrets names what a private registry needs, llm_image_mirrors what stands in for a registry. {RUN_AGAIN}",
        image,
    ),
    Cause(
        "not_made",
        "Its pod or container cannot be made.",
        "the API server's refusal of its pod, the waiting container's reason (as CreateContainerConfigError), or an event FailedMount",
        "",
        f"Restore what the line says is missing, or change what it says is forbidden. {RUN_AGAIN}",
        not_made,
    ),
    Cause(
        "hub_401",
        "The hub does not accept the token, or there is none.",
        "HTTP 401 in the last words of the download",
        "llm_hf_token",
        "Set a valid token and run playbooks/rotate_token.yml, then playbooks/deploy.yml.",
        hub_401,
    ),
    Cause(
        "hub_403",
        "The token is valid, but does not open the model.",
        "HTTP 403 in the last words of the download",
        "llm_hf_token",
        f"Accept the licence on the model's page with the token's account, or take a token that may read gated repositories. {RUN_AGAIN}",
        hub_403,
    ),
    Cause(
        "hub_404",
        "The hub no longer has the repository, the commit or a file of it.",
        "HTTP 404 in the last words of the download",
        "llm_model",
        "Correct it, or llm_revision; where it is locked, run playbooks/lock.yml.",
        hub_404,
    ),
    Cause(
        "sha256",
        "What arrived is not what the hub has declared.",
        "a wrong size or hash in the last words of the download, after a second try",
        "llm_hub",
        f"Look for a proxy or mirror that changes files. {RUN_AGAIN}",
        sha256,
    ),
    Cause(
        "hub_unreachable",
        "The hub did not answer, or gave up.",
        "any other failure to fetch in the last words of the download",
        "llm_hub",
        "Run the playbook again; where a proxy is needed set llm_proxy, and the admin lets downloads reach it (engineer_hub_peers).",
        hub_unreachable,
    ),
    Cause(
        "volume_full",
        "Its volume is full.",
        "the last words of the download or the conversion, or No space left on device in the engine's log",
        "llm_volume_size",
        f"Raise it. {RUN_AGAIN}",
        volume_full,
    ),
    Cause(
        "host_memory",
        "It needs more main memory than its limit.",
        "a container that ended as OOMKilled",
        MEMORY,
        f"Raise limits.memory. {RUN_AGAIN}",
        host_memory,
    ),
    Cause(
        "cuda_memory",
        "It needs more GPU memory than its share has.",
        "the engine's own line: cudaMalloc failed, CUDA out of memory, No available memory for the cache blocks, and the like",
        "llm_context",
        "Lower it, or llm_slots, or take a larger llm_gpu: playbooks/plan.yml tells what fits. Or a tenant takes more than its share.",
        cuda_memory,
    ),
    Cause(
        "probe_kill",
        "It was killed because it did not become, or stay, healthy in time.",
        "the kubelet's event Killing, which names the probe",
        "llm_startup_seconds",
        f"Raise it where the startup probe killed it; where the liveness probe did, look at the engine's log. {RUN_AGAIN}",
        probe_kill,
    ),
    Cause(
        "crash",
        "It ended by itself.",
        "its exit code, with the last line of its log that says what the error is",
        "llm_extra_args",
        "The line tells what to change: an argument, an environment variable (llm_extra_env), or the model.",
        crash,
    ),
    Cause(
        "job_failed",
        "Its download failed, and its pods are gone.",
        "the condition Failed of the Job",
        "",
        "Run playbooks/deploy.yml, which begins it anew and says why it fails.",
        job_failed,
    ),
    Cause(
        "not_answering",
        "It was up, and no longer answers the question whether it is healthy.",
        "a container that has started and is not ready, with the kubelet's event Unhealthy",
        "",
        "Wait: the liveness probe restarts it. Where that repeats itself, look at the engine's log.",
        not_answering,
    ),
    Cause(
        "starting",
        "It is on its way, and within its time.",
        "a pod that is not ready, and nothing of the above",
        "",
        "Wait.",
        starting,
    ),
    Cause(
        "wrong_key",
        "The engine runs with another key than its Secret holds.",
        "HTTP 401 to a request with that key",
        "",
        "Run playbooks/rotate_key.yml, or delete the pod: engines read the key when they start.",
        wrong_key,
    ),
    Cause(
        "cpu_fallback",
        "It holds a GPU slot, and computes on the CPU.",
        "llama.cpp's log: fewer layers offloaded than asked for, or no usable GPU found; looked for unless llm_gate_gpu is false",
        "llama_cpp_gpu_layers",
        f"Set it to all, and llama_cpp_image to one with CUDA for the driver of the nodes. {RUN_AGAIN}",
        cpu_fallback,
    ),
    Cause(
        "healthy",
        "It is up.",
        "a ready pod, and nothing of the above",
        "",
        "",
        healthy,
        well=True,
    ),
)
