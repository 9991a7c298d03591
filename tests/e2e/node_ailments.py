# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPU node made ill in every way that the sandbox allows, for test_gpu_nodes.py and as records.

    python -m tests.e2e.node_ailments [CAUSE ...]    makes each, and records what is read of it in tests/recorded/gpu_nodes

The node is the worker of the pool `default`, which is asked about as if it had GPUs. Its device plugin is the stand-in, which reads the
number of cards from a file, under the name that a pool of this name would give it. The pool `llm` and its tenants are left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import GPU
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_causes import Finding, diagnose, tell
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_evidence import NAMESPACE, NodeEvidence
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import POOL_LABEL, pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.gpu_nodes import SOCKETS, examine
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, NODE, POD

from .ailments import CONDITIONS, STATE, only

RECORDS = Path(__file__).parents[1] / "recorded/gpu_nodes"
POOL = {"name": "default", "instance_type": "gpu3.small", "size": 1, "slots_per_gpu": 2}
PLUGIN, BUSYBOX = "localhost/device-plugin:sandbox", "localhost/busybox:1.35"
SLICED = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: %d}]}}\n"
# What NVIDIA's device plugin v0.18.2 prints where there is no driver (internal/plugin/factory.go, cmd/nvidia-device-plugin/main.go).
NO_DRIVER = """
E1128 18:00:00.000000       1 factory.go:113] Incompatible strategy detected auto
E1128 18:00:00.000000       1 factory.go:114] If this is a GPU node, did you configure the NVIDIA Container Toolkit?
E1128 18:00:00.000000       1 main.go:189] error starting plugins: error getting plugins: unable to create plugins: failed to construct \
resource managers: invalid device discovery strategy
"""


class Workshop:
    """Makes the node of the pool `default` ill, and well again.

    Args:
        admin: the cluster with all rights.
        state: the sandbox's folder.

    Attributes:
        pool: what is asked about, an entry of sks_gpu_nodes_pools.
    """

    def __init__(self, admin: Kube, state: str):
        self.admin = admin
        (node,) = admin.request("GET", NODE.path(), query={"labelSelector": f"{POOL_LABEL}={POOL['name']}"})["items"]
        self.node = node["metadata"]["name"]
        self._taints = node["spec"].get("taints")
        self._gpus = Path(state, "cluster/nodes", self.node, "gpus")
        self.pool: dict = {}
        self._made: list[str] = []
        self.mend()

    def mend(self) -> None:
        """Undo all that was done."""
        self.pool = dict(POOL)
        self.mark({"taints": self._taints, "unschedulable": None})
        for path in reversed(self._made):
            with contextlib.suppress(KubeError):
                self.admin.request("DELETE", path, query={"propagationPolicy": "Foreground", "gracePeriodSeconds": 0})
        for path in self._made:
            self.until(lambda path=path: not self._is_there(path))
        self._made.clear()
        self._gpus.unlink(missing_ok=True)

    def cards(self, number: int) -> None:
        """Give the node so many cards."""
        self._gpus.write_text(f"{number}\n")

    def mark(self, spec: dict[str, Any]) -> None:
        """Change the Node's spec."""
        self.admin.request("PATCH", NODE.path(name=self.node), {"spec": spec}, content_type=MERGE_PATCH)

    def make(self, kind: str, name: str, body: dict, namespace: str = NAMESPACE) -> str:
        """Make an object; returns its path."""
        known = POD if kind == "Pod" else BY_NAME[kind]
        self._made.append(known.path(namespace, name))
        self.admin.request("POST", known.path(namespace), {"apiVersion": known.api, "kind": kind, "metadata": {"name": name}, **body})
        return self._made[-1]

    def plugin(self, replicas: int = 2, pod: dict | None = None, **container: Any) -> None:
        """Make the pool's device plugin, with these fields of its pod and of its container."""
        name = f"device-plugin-{POOL['name']}"
        self.make("ConfigMap", name, {"data": {"config.yaml": SLICED % replicas}})
        config = {"name": "config", "configMap": {"name": name}}
        plugin = {"env": [{"name": "CONFIG_FILE", "value": "/config/config.yaml"}]} | container
        self.daemonset(name, NAMESPACE, plugin, {"nodeSelector": {POOL_LABEL: POOL["name"]}} | (pod or {}), config)

    def daemonset(self, name: str, namespace: str, container: dict, pod: dict, *volumes: dict) -> None:
        """Make a device plugin, which mounts the kubelet's directory of sockets and these volumes."""
        sockets = {"name": "sockets", "hostPath": {"path": SOCKETS}}
        mounts = [{"name": "sockets", "mountPath": SOCKETS}, *({"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes)]
        spec = {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "device-plugin", "image": PLUGIN, "volumeMounts": mounts} | container],
            "volumes": [sockets, *volumes],
        }
        labels = {"app.kubernetes.io/name": name}
        template = {"metadata": {"labels": labels}, "spec": spec | pod}
        made = self.make("DaemonSet", name, {"spec": {"selector": {"matchLabels": labels}, "template": template}}, namespace)
        self.until(lambda: self.admin.request("GET", made)["status"].get("observedGeneration"))

    def tenant(self, slots: int) -> str:
        """Make a pod that holds GPU slots of the node; returns its path once it does."""
        name = f"tenant-{len(self._made)}"
        container = {"name": "tenant", "image": BUSYBOX, "command": ["sleep", "600"], "resources": {"limits": {GPU: str(slots)}}}
        spec = {"containers": [container], "nodeSelector": {POOL_LABEL: POOL["name"]}, "terminationGracePeriodSeconds": 0}
        path = self.make("Pod", name, {"spec": spec}, "default")
        self.until(lambda: self.admin.request("GET", path)["status"]["phase"] == "Running")
        return path

    def examined(self, cause: str, seconds: float = 60) -> tuple[NodeEvidence, Finding]:
        """What is read of the node once its cause shows."""
        end = time.monotonic() + seconds
        while True:
            found = [(evidence, finding) for evidence in examine(self.admin, [pool_record(self.pool)]) if (finding := diagnose(evidence))]
            for evidence, finding in found:
                if finding.cause.name == cause:
                    return evidence, finding
            assert time.monotonic() < end, tell(finding for _evidence, finding in found) or "the node is well"
            time.sleep(0.5)

    def recover(self) -> None:
        """Wait until nothing ails the node."""
        self.until(lambda: not any(map(diagnose, examine(self.admin, [pool_record(self.pool)]))))

    def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.3)

    def _is_there(self, path: str) -> bool:
        try:
            return bool(self.admin.request("GET", path))
        except KubeError:
            return False


AILMENTS: dict[str, Callable[[Workshop], None]] = {}


def ailment(make: Callable[[Workshop], None]) -> Callable[[Workshop], None]:
    """Add what makes the node ill to the table, under the name of its cause."""
    AILMENTS[make.__name__] = make
    return make


@ailment
def too_few(workshop: Workshop) -> None:
    workshop.plugin()
    workshop.pool |= {"size": 2}


@ailment
def not_ready(workshop: Workshop) -> None:
    workshop.mark({"unschedulable": True})


@ailment
def no_plugin(workshop: Workshop) -> None:
    pass


@ailment
def not_selected(workshop: Workshop) -> None:
    workshop.plugin(pod={"nodeSelector": {POOL_LABEL: "none"}})


@ailment
def taint(workshop: Workshop) -> None:
    workshop.mark({"taints": [{"key": "dedicated", "value": "research", "effect": "NoSchedule"}]})
    workshop.plugin()


@ailment
def no_pod(workshop: Workshop) -> None:
    workshop.plugin(pod={"runtimeClassName": "none"})


@ailment
def image(workshop: Workshop) -> None:
    workshop.plugin(image="localhost/device-plugin:none")


@ailment
def no_driver(workshop: Workshop) -> None:
    """The stand-in needs none: this says what NVIDIA's plugin says."""
    workshop.plugin(image=BUSYBOX, command=["sh", "-c", f"echo '{NO_DRIVER.strip()}'; exit 1"])


@ailment
def not_made(workshop: Workshop) -> None:
    workshop.plugin(env=[{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key"}}}])


@ailment
def crash(workshop: Workshop) -> None:
    workshop.plugin(image=BUSYBOX, command=["sh", "-c", "echo unable to load config: yaml: line 2; exit 1"])


@ailment
def starting(workshop: Workshop) -> None:
    workshop.plugin()


@ailment
def second_plugin(workshop: Workshop) -> None:
    workshop.plugin()
    idle = {"image": BUSYBOX, "command": ["sleep", "600"]}
    workshop.daemonset("nvidia-device-plugin-daemonset", "kube-system", idle, {"nodeSelector": {POOL_LABEL: POOL["name"]}})


@ailment
def no_card(workshop: Workshop) -> None:
    workshop.plugin()


@ailment
def other_slicing(workshop: Workshop) -> None:
    workshop.cards(1)
    workshop.plugin(replicas=4)


@ailment
def fewer_cards(workshop: Workshop) -> None:
    workshop.cards(1)
    workshop.plugin()
    workshop.pool |= {"instance_type": "gpu3.medium"}


@ailment
def wrong_count(workshop: Workshop) -> None:
    workshop.cards(3)
    workshop.plugin()


# The fields of objects that are recorded; an empty dict is all there is.
FIELDS: dict[str, Any] = {
    "node": {
        "metadata": {"name": {}, "uid": {}, "labels": {POOL_LABEL: {}, "kubernetes.io/hostname": {}}},
        "spec": {"taints": {}, "unschedulable": {}},
        "status": {"allocatable": {GPU: {}}, "capacity": {GPU: {}}, "conditions": CONDITIONS | {"lastHeartbeatTime": {}}},
    },
    "plugins": {
        "metadata": dict.fromkeys(("namespace", "name", "uid"), {}),
        "spec": {"template": {"spec": {"nodeSelector": {}, "tolerations": {}}}},
        "status": {"desiredNumberScheduled": {}},
    },
    "pods": {
        "metadata": dict.fromkeys(("namespace", "name", "creationTimestamp"), {}) | {"ownerReferences": {"uid": {}}},
        "status": {"conditions": CONDITIONS} | dict.fromkeys(("initContainerStatuses", "containerStatuses"), STATE | {"image": {}}),
    },
    "events": dict.fromkeys(("reason", "message", "type"), {}),
}


def trimmed(evidence: dict[str, Any]) -> dict[str, Any]:
    """Evidence with no more of the objects than the rules may look at."""
    return evidence | {name: only(evidence[name], fields) for name, fields in FIELDS.items()}


def main() -> None:
    workshop = Workshop(Kube(os.environ["KUBECONFIG"]), os.environ["SANDBOX_STATE"])
    RECORDS.mkdir(exist_ok=True)
    for cause in sys.argv[1:] or AILMENTS:
        begin = time.monotonic()
        try:
            AILMENTS[cause](workshop)
            evidence, finding = workshop.examined(cause)
            (RECORDS / f"{cause}.json").write_text(json.dumps(trimmed(evidence._asdict()), indent=1) + "\n")
            print(f"{time.monotonic() - begin:.0f} s", cause, "-", tell([finding]), flush=True)
        except Exception as error:
            print(cause, "FAILED", repr(error), flush=True)
        finally:
            workshop.mend()


if __name__ == "__main__":
    main()
