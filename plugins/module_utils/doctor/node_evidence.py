# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster says of one GPU node, and the few facts that the rules in node_causes.py ask of it. No input or output."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from .evidence import GPU, condition, last_end, why_waiting

NAMESPACE = "nvidia"
# Seconds until the API server knows from the kubelet, which tells it every 10 s, what a plugin said at its start.
SETTLES = 15
# In front of a line of the device plugin's log: level, date, time, thread, source.
_KLOG = re.compile(r"^[IWEF]\d{4} [\d:.]+ +\d+ \S+?:\d+\] ")
# NVIDIA's plugin prints the configuration that it runs with (cmd/nvidia-device-plugin/main.go).
_CONFIGURED = "Running with config"


class NodeEvidence(NamedTuple):
    """What was read of one GPU node. All is JSON, objects as the API server gives them, so that it can be recorded.

    Attributes:
        pool: the pool's record, as gpu.pool_record makes it.
        now: when it was read, as the API server writes times.
        there: names of the pool's nodes.
        node: the Node; empty where the pool has too few.
        plugins: DaemonSets of device plugins for NVIDIA's cards, in all namespaces.
        pods: their pods for this node.
        events: of these DaemonSets and pods, in order of time.
        config: the configuration of the pool's own device plugin, as it is declared.
        log: of the plugin's container, that of the run before first.
    """

    pool: dict
    now: str
    there: list[str]
    node: dict
    plugins: list[dict] = []
    pods: list[dict] = []
    events: list[dict] = []
    config: str = ""
    log: str = ""

    @property
    def name(self) -> str:
        """The node; empty where the pool has too few."""
        return self.node.get("metadata", {}).get("name", "")

    @property
    def wanted(self) -> int:
        """The GPU slots that the node must advertise."""
        return self.pool["gpus_per_node"] * self.pool["slots_per_gpu"]

    @property
    def allocatable(self) -> int:
        """The GPU slots that it advertises."""
        return int(self.node.get("status", {}).get("allocatable", {}).get(GPU, 0))

    @property
    def capacity(self) -> int:
        """The GPU slots that it advertises, or did before they became unhealthy."""
        return int(self.node.get("status", {}).get("capacity", {}).get(GPU, 0))

    @property
    def well(self) -> bool:
        """Whether it advertises what it must, and not only still what a former run of its plugin did."""
        return self.allocatable == self.wanted and (not self.plugin or self.settled)

    @property
    def settled(self) -> bool:
        """Whether the kubelet has told what the plugin's present run said: by a report since then, or as there was time for one."""
        reported = condition(self.node, "Ready", "True").get("lastHeartbeatTime") or ""
        return bool(self.begun) and (reported >= self.begun or self.age >= SETTLES)

    @property
    def own(self) -> str:
        """The DaemonSet that the role nvidia_utilities makes for the pool."""
        return f"{NAMESPACE}/device-plugin-{self.pool['name']}"

    @property
    def plugin(self) -> dict:
        """That DaemonSet, else another one that has a pod for the node; empty where there is none."""
        own = [plugin for plugin in self.plugins if path(plugin) == self.own]
        return next(iter([*own, *self.others]), {})

    @property
    def others(self) -> list[dict]:
        """Device plugins of others that have a pod for the node."""
        return [plugin for plugin in self.plugins if path(plugin) != self.own and self._pods_of(plugin)]

    @property
    def pod(self) -> dict:
        """The plugin's newest pod for the node; empty where there is none."""
        return max(self._pods_of(self.plugin), key=lambda pod: pod["metadata"]["creationTimestamp"], default={})

    def _pods_of(self, plugin: dict) -> list[dict]:
        uid = plugin.get("metadata", {}).get("uid")
        return [pod for pod in self.pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ()))]

    @property
    def container(self) -> dict:
        """The state of the pod's container that all waits for: the first that is not ready, else the last; or empty."""
        status = self.pod.get("status", {})
        states = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        return next((one for one in states if not one["ready"]), states[-1] if states else {})

    @property
    def waiting(self) -> dict:
        """Why that container waits, as ``reason`` and ``message``; empty where it does not."""
        return why_waiting(self.container)

    @property
    def ended(self) -> dict:
        """How that container ended the last time; empty where it did not."""
        return last_end(self.container)

    @property
    def lines(self) -> list[str]:
        """The lines of the plugin's log, without what klog writes in front of them."""
        return [said for line in self.log.splitlines() if (said := _KLOG.sub("", line).strip())]

    @property
    def last_words(self) -> str:
        """What the plugin said last."""
        said = self.lines or self.ended.get("message", "").split("\n")
        return said[-1].strip()

    @property
    def slots_per_gpu(self) -> int:
        """The replicas of each card that the plugin runs with, as far as it says so, else those that are declared for it."""
        _before, said, config = self.log.rpartition(_CONFIGURED)
        found = re.search(r"\breplicas\W+(\d+)", config if said else self.config)
        return int(found[1]) if found else 1

    @property
    def begun(self) -> str:
        """When the plugin's container has begun; empty where it does not run."""
        return self.container.get("state", {}).get("running", {}).get("startedAt", "")

    @property
    def age(self) -> float:
        """Seconds since then; 0 where it does not run."""
        return (datetime.fromisoformat(self.now) - datetime.fromisoformat(self.begun)).total_seconds() if self.begun else 0

    def event(self, *reasons: str, saying: str = "") -> str:
        """The newest event with one of these reasons and this text; empty where there is none."""
        found = (event.get("message", "") for event in reversed(self.events) if event["reason"] in reasons)
        return next((message for message in found if saying in message), "")


def path(obj: dict) -> str:
    """Namespace and name of an object."""
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
