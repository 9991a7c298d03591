# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Say how far a workload is, and why it is not up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from .apply import path_of
from .client import Kube, KubeError
from .kinds import POD

# Reasons of a waiting container that do not go away by waiting.
NO_IMAGE = {"ImagePullBackOff", "InvalidImageName"}
NOT_MADE = {"CreateContainerConfigError", "CreateContainerError"}
HOPELESS = NO_IMAGE | NOT_MADE | {"CrashLoopBackOff"}


class State(NamedTuple):
    """How far a workload is.

    Attributes:
        done: it is complete or ready.
        failed: it will not become ready by waiting.
        text: what it is doing, or why it failed.
        crashed: it failed because a container of its own ended.
    """

    done: bool
    failed: bool
    text: str
    crashed: bool = False


def node_is_ready(node: dict) -> bool:
    """Whether a live Node takes pods."""
    ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in node["status"].get("conditions", ()))
    return ready and not node["spec"].get("unschedulable")


def is_complete(job: dict) -> bool:
    """Whether a live Job has done its work."""
    return has_ended(job, "Complete")


def has_ended(job: dict, how: str) -> bool:
    """Whether a live Job has ended like this, ``Complete`` or ``Failed``."""
    return any(entry["type"] == how and entry["status"] == "True" for entry in job.get("status", {}).get("conditions", ()))


def wait(kube: Kube, live: dict, timeout: float, report: Callable[[str, float], None]) -> State:
    """Wait for a live Deployment, StatefulSet, DaemonSet or Job; ``report`` gets the text and elapsed seconds about once a second.

    Returns the last state: done, failed, or neither after ``timeout`` seconds.
    """
    start = time.monotonic()
    while True:
        now = state(kube, live)
        elapsed = time.monotonic() - start
        if now.done or now.failed or elapsed > timeout:
            return now
        report(now.text, elapsed)
        time.sleep(min(1.0, 0.2 + elapsed / 10))
        live = kube.request("GET", path_of(live))


def state(kube: Kube, live: dict) -> State:
    """What the status of a live Deployment, StatefulSet, DaemonSet or Job, and that of its pods, says."""
    status, spec = live.get("status", {}), live["spec"]
    conditions = {entry["type"]: entry for entry in status.get("conditions", ()) if entry["status"] == "True"}
    current = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
    if live["kind"] == "Job":
        if is_complete(live):
            return State(True, False, "complete")
        failed = "Failed" in conditions
    elif live["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated = status.get("updatedNumberScheduled", 0)
        if current and updated == status.get("numberReady", 0) == wanted:
            return State(True, False, "ready")
        failed = False
    else:
        wanted = spec.get("replicas", 1)
        updated = status.get("updatedReplicas", 0)
        if current and status.get("replicas", 0) == updated == status.get("availableReplicas", 0) == wanted:
            return State(True, False, "ready")
        failed = False
        if current and "ReplicaFailure" in conditions:
            return State(False, True, f"no pod is allowed: {conditions['ReplicaFailure'].get('message', '')}")
    if live["kind"] != "Job" and not (current and updated):  # what the pods of a former state say is of no interest
        return State(False, False, "waiting for a pod")
    return _pods(kube, live, failed)


def _pods(kube: Kube, live: dict, failed: bool) -> State:
    metadata = live["metadata"]
    selector = ",".join(f"{key}={value}" for key, value in live["spec"]["selector"]["matchLabels"].items())
    pods = kube.request("GET", POD.path(metadata["namespace"]), query={"labelSelector": selector})["items"]
    if not pods:
        return State(False, failed, "failed and its pods are gone" if failed else "waiting for a pod")
    # The newest pod tells; the older ones are on their way out.
    pod = max(pods, key=lambda item: item["metadata"]["creationTimestamp"])
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return State(False, failed, f"no node takes the pod: {condition.get('message', '')}")
    if failed and status.get("message"):  # its node refused it, or took it away
        return State(False, True, f"{status.get('reason')}: {status['message']}")
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        waiting = container.get("state", {}).get("waiting", {})
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        reason = waiting.get("reason", "")
        if reason in HOPELESS or (failed and ended.get("exitCode")):
            said = (ended.get("message") or "").strip() or last_line(kube, pod, container["name"]) or waiting.get("message", "")
            cause = "out of memory" if ended.get("reason") == "OOMKilled" else reason or f"exit code {ended.get('exitCode')}"
            return State(False, True, f"container {container['name']}: {cause}: {said}".rstrip(": "), crashed=bool(ended))
        if waiting and reason != "PodInitializing":  # an earlier container tells
            return State(False, failed, f"container {container['name']}: {waiting.get('message') or reason}")
    if live["kind"] == "Job":
        running = next((container["name"] for container in containers if "running" in container.get("state", {})), "")
        return State(False, failed, last_line(kube, pod, running) or "starting")
    return State(False, failed, "starting, not ready yet")


def last_line(kube: Kube, pod: dict, container: str = "") -> str:
    """The last line that a pod printed, of the run before if the present one is silent; empty if there is none."""
    path = POD.path(pod["metadata"]["namespace"], pod["metadata"]["name"]) + "/log"
    for previous in ("false", "true"):
        query = {"tailLines": 1, "previous": previous} | ({"container": container} if container else {})
        try:
            if line := kube.text(path, query).strip():
                return line
        except KubeError:
            continue  # no log yet, or no run before
    return ""
