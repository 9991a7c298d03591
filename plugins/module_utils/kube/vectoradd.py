# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove by a Job that pods compute on a GPU node, and keep the result on the cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from ..doctor.evidence import GPU
from ..doctor.node_evidence import NAMESPACE, NodeEvidence
from ..errors import UserError
from ..files import now
from . import ready
from .apply import INSTANCE, MANAGED_BY, MANAGER, apply_object, delete_object, read
from .client import Kube
from .kinds import BY_NAME, POD

# The ConfigMap of results, the instance of all that is made here, and what the Jobs' names begin with.
CHECK = "gpu-check"
LABELS = {MANAGED_BY: MANAGER, INSTANCE: CHECK}
# What NVIDIA's sample vectorAdd prints once the sums are right; a label of gpu-feature-discovery.
PASSED, PRODUCT = "Test PASSED", "nvidia.com/gpu.product"


class Taken(Exception):
    """Somebody else took the node's last GPU slot before the test did."""


class Vectoradd(NamedTuple):
    """What is run on a node.

    Attributes:
        command: in place of the image's own; empty for that.
        timeout: seconds until it must have ended, its image's transfer included.
    """

    image: str
    command: list[str]
    timeout: int

    def job(self, evidence: NodeEvidence) -> dict:
        """The Job for a node."""
        labels = evidence.node["metadata"]["labels"]
        host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [labels["kubernetes.io/hostname"]]}
        container = {
            "name": "vectoradd",
            "image": self.image,
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {GPU: 1}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        } | ({"command": self.command} if self.command else {})
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}}
            },
            "tolerations": evidence.pool["tolerations"],
            "containers": [container],
        }
        return {
            "apiVersion": BY_NAME["Job"].api,
            "kind": "Job",
            "metadata": {"name": f"{CHECK}-{evidence.name}", "namespace": NAMESPACE, "labels": LABELS},
            "spec": {
                "backoffLimit": 0,
                # Where this run is interrupted.
                "activeDeadlineSeconds": self.timeout + 60,
                "ttlSecondsAfterFinished": 3600,
                "template": {"metadata": {"labels": LABELS}, "spec": pod},
            },
        }

    def start(self, kube: Kube, evidence: NodeEvidence) -> dict:
        """Make the Job for a node, in place of one that an interrupted run left; returns the live one."""
        job = self.job(evidence)
        if live := read(kube, job):
            delete_object(kube, live, False, "Foreground")
            end = time.monotonic() + 60
            while read(kube, job):
                if time.monotonic() > end:
                    name = f"{NAMESPACE}/{job['metadata']['name']}"
                    raise UserError(f"The Job {name} of a former run does not end. Delete its pod, and run this again.")
                time.sleep(0.5)
        return kube.request("POST", BY_NAME["Job"].path(NAMESPACE), job)

    def finish(self, kube: Kube, evidence: NodeEvidence, live: dict, report: Callable[[str, float], None]) -> dict:
        """Wait for the live Job of a node.

        Returns:
            The result to keep: ``uid`` and ``pool`` of the node, its ``card``, the ``image``, ``time`` (UTC), ``passed``, ``seconds`` from
            the Job's beginning to its end, and its last ``words``.

        Raises:
            Taken: it cannot begin, as others hold all the node's slots.
        """

        def watch(text: str, elapsed: float) -> None:
            if f"Insufficient {GPU}" in text:
                raise Taken
            report(text, elapsed)

        state = ready.wait(kube, live, self.timeout, watch)
        result = _identity(evidence, self) | {"time": now(), "card": card(evidence), "passed": False, "words": state.text}
        status = read(kube, live).get("status", {})
        begin, end = (datetime.fromisoformat(status.get(key) or result["time"]) for key in ("startTime", "completionTime"))
        result["seconds"] = round((end - begin).total_seconds())
        if state.done:
            said = self._said(kube, live)
            result["passed"] = PASSED in said
            result["words"] = PASSED if result["passed"] else f"it did not say {PASSED!r}, but {said[-1]!r}"
        elif not state.failed:
            result["words"] = f"it has not ended after {self.timeout} s: {state.text}"
        return result

    def _said(self, kube: Kube, live: dict) -> list[str]:
        """The lines that a Job's pod printed."""
        selector = ",".join(f"{key}={value}" for key, value in live["spec"]["selector"]["matchLabels"].items())
        pods = kube.request("GET", POD.path(NAMESPACE), query={"labelSelector": selector})["items"]
        logs = [kube.text(POD.path(NAMESPACE, pod["metadata"]["name"]) + "/log") for pod in pods]
        return [line.strip() for log in logs for line in log.splitlines() if line.strip()] or [""]


def card(evidence: NodeEvidence) -> str:
    """The card of a node, as gpu-feature-discovery names it; empty where nothing does."""
    return evidence.node.get("metadata", {}).get("labels", {}).get(PRODUCT, "")


def kept(kube: Kube, test: Vectoradd, nodes: list[NodeEvidence]) -> dict[str, dict]:
    """The results that were kept of these very nodes and this test, by node."""
    results = {node: json.loads(text) for node, text in read(kube, _record({})).get("data", {}).items()}
    return {
        evidence.name: results[evidence.name]
        for evidence in nodes
        if results.get(evidence.name, {}).items() >= _identity(evidence, test).items()
    }


def keep(kube: Kube, results: dict[str, dict]) -> None:
    """Keep these results, by node, and no others."""
    apply_object(kube, _record(results), check_mode=False)


def _identity(evidence: NodeEvidence, test: Vectoradd) -> dict[str, str]:
    """What a result is of: another node of the same name, or another image, is to be tested anew."""
    return {"uid": evidence.node.get("metadata", {}).get("uid", ""), "pool": evidence.pool["name"], "image": test.image}


def _record(results: dict[str, dict]) -> dict:
    metadata = {"name": CHECK, "namespace": NAMESPACE, "labels": LABELS}
    data = {node: json.dumps(result) for node, result in results.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
