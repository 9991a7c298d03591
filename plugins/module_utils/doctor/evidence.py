# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster says of one deployment, and the few facts that the rules in causes.py ask of it. No input or output."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from ..kube.ready import is_complete

GPU = "nvidia.com/gpu"


class Evidence(NamedTuple):
    """What was read of one deployment. All is JSON, objects as the API server gives them, so that it can be recorded.

    Attributes:
        host: the deployment.
        engine: its inventory group.
        now: when it was read, as the API server writes times.
        asleep: since when the GPU pools sleep; empty where they do not.
        on_gpu: whether all layers must be on the GPU (llm_gate_gpu).
        deployment: the Deployment; empty where there is none.
        job: the newest download Job of its volume; empty where there is none.
        pod: the newest pod of the workload; empty where there is none.
        claim: the claim of its volume; empty where there is none.
        events: of these objects, in order of time.
        nodes: all nodes of the cluster.
        storage_classes: name -> whether it is the default.
        log: of the container that tells: its beginning where it runs, its end where it ended.
        answer: the HTTP status of a request with the key of its Secret; None where there was no answer, or nothing to ask.
    """

    host: str
    engine: str
    now: str
    asleep: str
    on_gpu: bool
    deployment: dict
    job: dict
    pod: dict
    claim: dict
    events: list[dict]
    nodes: list[dict]
    storage_classes: dict[str, bool]
    log: str = ""
    answer: int | None = None

    @property
    def workload(self) -> dict:
        """What must come up next: the download Job until it is complete, then the Deployment; empty where there is neither."""
        return self.job if self.job and not is_complete(self.job) else self.deployment

    @property
    def containers(self) -> list[dict]:
        """The states of the pod's containers, in the order of their start."""
        status = self.pod.get("status", {})
        return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]

    @property
    def container(self) -> dict:
        """The state of the container that all waits for: the first that has neither succeeded nor is ready, else the last; or empty."""
        pending = (one for one in self.containers if not one["ready"] and one["state"].get("terminated", {}).get("exitCode") != 0)
        return next(pending, self.containers[-1] if self.containers else {})

    @property
    def ready(self) -> bool:
        """Whether the engine is up."""
        return self.workload is self.deployment and bool(self.container.get("ready"))

    @property
    def waiting(self) -> dict:
        """Why that container waits, as ``reason`` and ``message``; empty where it does not."""
        return why_waiting(self.container)

    @property
    def ended(self) -> dict:
        """How that container, which is not up, ended the last time; empty where it did not, or was a Job's and ended well."""
        last = last_end(self.container)
        well = self.container.get("ready") or self.workload is self.job and last.get("exitCode") == 0
        return {} if well else last

    @property
    def last_words(self) -> str:
        """What that container said at its end, in one line."""
        said = (self.ended.get("message") or self.log).strip()
        return said.splitlines()[-1] if said else ""

    @property
    def spec(self) -> dict:
        """That container as it is declared; empty where there is none."""
        declared = self.pod.get("spec", {})
        everyone = [*declared.get("initContainers", ()), *declared.get("containers", ())]
        return next((one for one in everyone if one["name"] == self.container.get("name")), {})

    def argument(self, name: str) -> str:
        """What follows this on that container's command line; empty where it is not there."""
        return dict(itertools.pairwise(self.spec.get("args", ()))).get(name, "")

    @property
    def unscheduled(self) -> str:
        """The scheduler's words on a pod that no node takes, without those on preemption; empty where one has taken it."""
        said = condition(self.pod, "PodScheduled", "False").get("message", "")
        return re.split(r"\.? (?:no new claims to deallocate|preemption:)", said)[0]

    @property
    def pool(self) -> list[dict]:
        """The nodes that the pod's node selector allows."""
        wanted = self.pod.get("spec", {}).get("nodeSelector", {}).items()
        return [node for node in self.nodes if wanted <= node["metadata"].get("labels", {}).items()]

    @property
    def budget(self) -> int:
        """Seconds that the container may take from its start until it is healthy."""
        probe = self.spec.get("startupProbe", {})
        return probe.get("failureThreshold", 0) * probe.get("periodSeconds", 0)

    def event(self, *reasons: str, saying: str = "") -> str:
        """The newest event with one of these reasons and this text; empty where there is none."""
        found = (event.get("message", "") for event in reversed(self.events) if event["reason"] in reasons)
        return next((message for message in found if saying in message), "")

    def seconds_since(self, time: str) -> float:
        """From a time of the API server's until now."""
        return (datetime.fromisoformat(self.now) - datetime.fromisoformat(time)).total_seconds()


def condition(obj: dict, sort: str, status: str) -> dict:
    """An object's condition of a sort, if it has this status; else empty."""
    conditions = obj.get("status", {}).get("conditions", ())
    return next((entry for entry in conditions if entry["type"] == sort and entry["status"] == status), {})


def why_waiting(container: dict) -> dict:
    """Why a container of this state waits, as ``reason`` and ``message``; empty where it does not."""
    return container.get("state", {}).get("waiting", {})


def last_end(container: dict) -> dict:
    """How a container of this state ended the last time; empty where it did not."""
    states = (container.get(key, {}).get("terminated") for key in ("state", "lastState"))
    return next(filter(None, states), {})


def untolerated(node: dict, tolerations: Iterable[dict]) -> list[str]:
    """The taints of a node that keep pods with these tolerations away, as kubectl writes them."""

    def tolerated(taint: dict) -> bool:
        return any(
            entry.get("key") in (None, taint["key"])
            and entry.get("effect") in (None, taint["effect"])
            and (entry.get("operator") == "Exists" or entry.get("value", "") == taint.get("value", ""))
            for entry in tolerations
        )

    present = (taint for taint in node["spec"].get("taints", ()) if taint["effect"] != "PreferNoSchedule" and not tolerated(taint))
    return [f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in present]
