# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read from a cluster what tells whether GPU nodes advertise their cards, and who holds them, with an admin's rights."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property

from ..doctor.evidence import GPU
from ..doctor.node_evidence import NodeEvidence
from ..gpu import POOL_LABEL
from .client import Kube, KubeError
from .examine import event_time
from .kinds import BY_NAME, EVENT, NODE, POD
from .ready import node_is_ready

# Where device plugins meet the kubelet.
SOCKETS = "/var/lib/kubelet/device-plugins"
# Lines of a plugin's log: its configuration is at the beginning, and little follows.
TAIL = 400


def examine(kube: Kube, records: list[dict]) -> Iterator[NodeEvidence]:
    """What is known of each GPU node, and of each pool that has too few, pool by pool.

    A node that is not ready is left out where its pool has enough others: it is on its way out.

    Args:
        records: of the GPU pools, as gpu.pool_record makes them.
    """
    plugins = _Plugins(kube)
    for record in records:
        nodes = kube.request("GET", NODE.path(), query={"labelSelector": f"{POOL_LABEL}={record['name']}"})["items"]
        there = [node["metadata"]["name"] for node in nodes]
        enough = sum(map(node_is_ready, nodes)) >= record["nodes"]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for node in nodes:
            evidence = NodeEvidence(record, now, there, node)
            if node_is_ready(node):
                yield plugins.look(evidence)
            elif not enough:
                yield evidence
        if len(nodes) < record["nodes"]:
            yield NodeEvidence(record, now, there, {})


class _Plugins:
    """The device plugins of a cluster; each thing is read once, and what explains only where a node lacks something."""

    def __init__(self, kube: Kube):
        self._kube = kube

    def look(self, evidence: NodeEvidence) -> NodeEvidence:
        """Add what is known of the device plugins for a node."""
        pods = [pod for pod in self._pods if _node_of(pod) == evidence.name and not pod["metadata"].get("deletionTimestamp")]
        evidence = evidence._replace(plugins=self._all, pods=pods)
        if evidence.well:
            return evidence
        uids = {obj["metadata"]["uid"] for obj in (*self._all, *pods)}
        events = [event for event in self._events if event["involvedObject"].get("uid") in uids]
        return evidence._replace(events=events, config=self._config(evidence.plugin), log=self._log(evidence))

    @cached_property
    def _all(self) -> list[dict]:
        return [obj for obj in self._kube.request("GET", BY_NAME["DaemonSet"].path())["items"] if _is_plugin(obj)]

    @cached_property
    def _pods(self) -> list[dict]:
        return self._beside_them(POD)

    @cached_property
    def _events(self) -> list[dict]:
        return sorted(self._beside_them(EVENT), key=event_time)

    def _beside_them(self, kind) -> list[dict]:
        namespaces = {obj["metadata"]["namespace"] for obj in self._all}
        return [item for namespace in sorted(namespaces) for item in self._kube.request("GET", kind.path(namespace))["items"]]

    def _config(self, plugin: dict) -> str:
        """The files of the ConfigMaps that a plugin mounts."""
        volumes = plugin["spec"]["template"]["spec"].get("volumes", ()) if plugin else ()
        texts = []
        for name in (volume["configMap"]["name"] for volume in volumes if "configMap" in volume):
            try:
                found = self._kube.request("GET", BY_NAME["ConfigMap"].path(plugin["metadata"]["namespace"], name))
            except KubeError as error:
                if error.status != 404:
                    raise
                continue  # the pod's event tells
            texts += found.get("data", {}).values()
        return "\n".join(texts)

    def _log(self, evidence: NodeEvidence) -> str:
        if not evidence.container:
            return ""
        metadata, texts = evidence.pod["metadata"], []
        for previous in ("true", "false"):
            query = {"container": evidence.container["name"], "tailLines": TAIL, "previous": previous}
            try:
                texts.append(self._kube.text(POD.path(metadata["namespace"], metadata["name"]) + "/log", query))
            except KubeError:
                continue  # there was no run before, or none has begun
        return "\n".join(texts)


def _is_plugin(daemonset: dict) -> bool:
    """Whether a DaemonSet advertises NVIDIA's cards to kubelets."""
    pod, metadata = daemonset["spec"]["template"]["spec"], daemonset["metadata"]
    about = " ".join([metadata["namespace"], metadata["name"], *(one["image"] for one in pod["containers"])])
    paths = {volume["hostPath"]["path"].rstrip("/") for volume in pod.get("volumes", ()) if "hostPath" in volume}
    return SOCKETS in paths and "nvidia" in about


def _node_of(pod: dict) -> str:
    """The node of a DaemonSet's pod; before it is scheduled its affinity has it."""
    if name := pod["spec"].get("nodeName"):
        return name
    required = pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    fields = (field for term in required.get("nodeSelectorTerms", ()) for field in term.get("matchFields", ()))
    return next((field["values"][0] for field in fields if field["key"] == "metadata.name"), "")


def holders(kube: Kube, node: str) -> dict[str, int]:
    """The pods that hold GPU slots of a node, as namespace/name, and how many each holds."""
    pods = kube.request("GET", POD.path(), query={"fieldSelector": f"spec.nodeName={node}"})["items"]
    held = {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": sum(
            int(one.get("resources", {}).get("limits", {}).get(GPU, 0)) for one in pod["spec"]["containers"]
        )
        for pod in pods
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    }
    return {name: slots for name, slots in held.items() if slots}
