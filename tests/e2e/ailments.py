# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice's deployment of the demo made ill in every way that the sandbox allows, for test_doctor.py and as records.

    python -m tests.e2e.ailments [CAUSE ...]    makes each, and records what is read of it in tests/recorded/doctor

An ill deployment is a copy of the healthy one, under a name of its own, with one thing changed. It mounts the same volume, and
holds a GPU slot only where the ailment is about GPUs, so that many fit beside each other.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.causes import diagnose
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import GPU, Evidence
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import ENGINEER, INSTANCE, MANAGED_BY, MANAGER
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.examine import Patient, Ward
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.keys import GENERATE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, POD
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.ready import has_ended

RECORDS = Path(__file__).parents[1] / "recorded/doctor"
DOWNLOAD = Path(__file__).parents[2] / "roles/llm/files/download.py"
NAMESPACE, HEALTHY = "llm-alice", "alice-chat"
GATED = {
    "LLM_REPO": "meta-llama/Llama-3.1-8B-Instruct",
    "LLM_COMMIT": "main",
    "LLM_FILES": '[{"path": "config.json", "size": 9, "sha256": null}]',
}
NOBODY = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
NOTHING = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class Clinic:
    """Makes ill deployments of the healthy one, and removes them.

    Args:
        admin: the cluster with all rights.

    Attributes:
        made: paths of the objects that were made.
    """

    def __init__(self, admin: Kube):
        self.admin = admin
        self.healthy = admin.request("GET", BY_NAME["Deployment"].path(NAMESPACE, HEALTHY))
        query = {"labelSelector": f"{INSTANCE}={HEALTHY}"}
        (self._job,) = admin.request("GET", BY_NAME["Job"].path(NAMESPACE), query=query)["items"]
        self.made: list[str] = []

    def admit(self, cause: str) -> str:
        """Make a deployment ill of this cause; returns its name."""
        host = f"alice-{cause.replace('_', '-')}"
        AILMENTS[cause](self, host)
        return host

    def discharge(self) -> None:
        """Remove all that was made, the latest first."""
        for path in reversed(self.made):
            with contextlib.suppress(KubeError):
                self.admin.request("DELETE", path, query={"propagationPolicy": "Foreground"})
        for path in self.made:
            while self._is_there(path):
                time.sleep(0.3)
        self.made.clear()

    def make(self, kind: str, host: str, body: dict, namespace: str = NAMESPACE) -> str:
        """Make an object of a deployment; returns its path."""
        known = POD if kind == "Pod" else BY_NAME[kind]
        body["metadata"] = {"name": host, **body.get("metadata", {})}
        body["metadata"]["labels"] = {MANAGED_BY: MANAGER, ENGINEER: "alice", INSTANCE: host}
        self.made.append(known.path(namespace, body["metadata"]["name"]))
        self.admin.request("POST", known.path(namespace), {"apiVersion": known.api, "kind": kind, **body})
        return self.made[-1]

    def engine(self, host: str, gpus: int = 0, pod: dict | None = None, **container: Any) -> str:
        """Make a Deployment with these GPUs, these fields of its pod and of its container."""
        spec = copy.deepcopy(self.healthy["spec"])
        spec["selector"]["matchLabels"] = spec["template"]["metadata"]["labels"] = {INSTANCE: host}
        resources = {"limits": {"memory": "1Gi"} | ({GPU: str(gpus)} if gpus else {}), "requests": {"cpu": "10m", "memory": "16Mi"}}
        spec["template"]["spec"] |= pod or {}
        server = spec["template"]["spec"]["containers"][0]
        if not gpus:  # who runs on GPU nodes all the same must want none
            server["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
        server |= {"resources": resources} | container
        return self.make("Deployment", host, {"spec": spec})

    def download(self, host: str, claim: str = HEALTHY, **environment: str) -> str:
        """Make a download Job with these variables of its environment, which tries once."""
        spec = copy.deepcopy(self._job["spec"])
        for key in ("selector", "manualSelector"):
            spec.pop(key, None)
        spec["backoffLimit"] = 0
        spec["template"]["metadata"]["labels"] = {"selfhosted.llm/download": host}
        pod = spec["template"]["spec"]
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = claim
        (container,) = pod["containers"]
        changed = {"LLM_DIRECTORY": f"/models/ill/{host}", "LLM_WAIT": "0.01", "HF_TOKEN": ""} | environment
        container["command"][-1] = DOWNLOAD.read_text()
        container["env"] = [entry for entry in container["env"] if entry["name"] not in changed]
        container["env"] += [{"name": name, "value": value} for name, value in changed.items()]
        return self.make("Job", host, {"metadata": {"name": f"{host}-0"}, "spec": spec})

    def key(self, host: str) -> list[dict]:
        """Make an API key; returns the volumes of a pod with it."""
        metadata = {"name": f"{host}-api-key", "annotations": {GENERATE: "key,keys"}}
        self.make("Secret", host, {"metadata": metadata, "data": key_data("a key of its own")})
        volumes = copy.deepcopy(self.healthy["spec"]["template"]["spec"]["volumes"])
        next(volume for volume in volumes if "secret" in volume)["secret"]["secretName"] = f"{host}-api-key"
        return volumes

    def claim(self, host: str, **spec: Any) -> str:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}} | spec
        return self.make("PersistentVolumeClaim", host, {"spec": spec})

    def filler(self, host: str, namespace: str, container: dict | None = None, **spec: Any) -> None:
        """Make a pod that only holds something, and wait until it does."""
        pause = {"name": "pause", "image": "localhost/busybox:1.35", "command": ["sleep", "600"], "securityContext": NOTHING}
        spec = {"securityContext": NOBODY, "terminationGracePeriodSeconds": 0, "containers": [pause | (container or {})]} | spec
        path = self.make("Pod", f"{host}-filler", {"spec": spec}, namespace)
        self.until(lambda: self.admin.request("GET", path)["status"]["phase"] == "Running")

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

    @property
    def environment(self) -> dict[str, str]:
        """What the healthy deployment's download was told."""
        (container,) = self._job["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def key_data(key: str) -> dict[str, str]:
    """The data of a Secret with an API key, alone and in a file of several."""
    return dict.fromkeys(("key", "keys"), base64.b64encode(key.encode()).decode())


AILMENTS: dict[str, Callable[[Clinic, str], None]] = {}


def ailment(make: Callable[[Clinic, str], None]) -> Callable[[Clinic, str], None]:
    """Add what makes a deployment ill to the table, under the name of its cause."""
    AILMENTS[make.__name__] = make
    return make


@ailment
def quota(clinic: Clinic, host: str) -> None:
    clinic.engine(host, gpus=3)


@ailment
def taint(clinic: Clinic, host: str) -> None:
    clinic.engine(host, gpus=1, pod={"tolerations": []})


@ailment
def device_plugin(clinic: Clinic, host: str) -> None:
    clinic.engine(host, gpus=1, pod={"nodeSelector": {"selfhosted.llm/pool": "default"}})


@ailment
def node_not_ready(clinic: Clinic, host: str) -> None:
    clinic.engine(host, pod={"nodeSelector": {"selfhosted.llm/pool": "none"}})


@ailment
def volume_unbound(clinic: Clinic, host: str) -> None:
    clinic.claim(host, storageClassName="fast")
    clinic.download(host, claim=host)


@ailment
def volume_elsewhere(clinic: Clinic, host: str) -> None:
    clinic.claim(host)
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": host}}
    mount = {"volumeMounts": [{"name": "models", "mountPath": "/models"}]}
    clinic.filler(host, NAMESPACE, mount, volumes=[volume], nodeSelector={"selfhosted.llm/pool": "default"})
    clinic.download(host, claim=host)


@ailment
def no_slot(clinic: Clinic, host: str) -> None:
    """The demo's three tenants leave one slot, which a pod of another namespace takes."""
    selector = clinic.healthy["spec"]["template"]["spec"]
    place = {key: selector[key] for key in ("nodeSelector", "tolerations")}
    clinic.filler(host, "default", {"resources": {"limits": {GPU: "1"}}}, **place)
    clinic.engine(host, gpus=1)


@ailment
def no_room(clinic: Clinic, host: str) -> None:
    clinic.engine(host, resources={"requests": {"memory": "1Ti"}})


@ailment
def image(clinic: Clinic, host: str) -> None:
    clinic.engine(host, image="localhost/llama-server:none")


@ailment
def not_made(clinic: Clinic, host: str) -> None:
    clinic.engine(host, env=[{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": f"{host}-api-key", "key": "key"}}}])


@ailment
def hub_401(clinic: Clinic, host: str) -> None:
    clinic.download(host, **GATED)


@ailment
def hub_403(clinic: Clinic, host: str) -> None:
    clinic.download(host, **GATED, HF_TOKEN="token-without-licence")


@ailment
def hub_404(clinic: Clinic, host: str) -> None:
    clinic.download(host, LLM_COMMIT="0" * 40)


@ailment
def sha256(clinic: Clinic, host: str) -> None:
    files = json.loads(clinic.environment["LLM_FILES"])
    smallest = min(files, key=lambda file: file["size"])
    clinic.download(host, LLM_FILES=json.dumps([smallest | {"sha256": "0" * 64}]))


@ailment
def hub_unreachable(clinic: Clinic, host: str) -> None:
    clinic.download(host, HF_ENDPOINT="http://127.0.0.1:9")


@ailment
def volume_full(clinic: Clinic, host: str) -> None:
    clinic.download(host, LLM_FILES=json.dumps([{"path": "large.gguf", "size": 10**15, "sha256": None}]))


@ailment
def host_memory(clinic: Clinic, host: str) -> None:
    clinic.engine(host, resources={"limits": {"memory": "20Mi"}, "requests": {"cpu": "10m", "memory": "16Mi"}})


@ailment
def probe_kill(clinic: Clinic, host: str) -> None:
    probe = {"httpGet": {"path": "/nowhere", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    clinic.engine(host, startupProbe=probe)


@ailment
def crash(clinic: Clinic, host: str) -> None:
    clinic.engine(host, args=["--no-such-flag"])


@ailment
def job_failed(clinic: Clinic, host: str) -> None:
    path = clinic.download(host, **GATED)
    clinic.until(lambda: has_ended(clinic.admin.request("GET", path), "Failed"))
    query = {"labelSelector": f"selfhosted.llm/download={host}"}
    for pod in clinic.admin.request("GET", POD.path(NAMESPACE), query=query)["items"]:
        clinic.admin.request("DELETE", POD.path(NAMESPACE, pod["metadata"]["name"]))


@ailment
def starting(clinic: Clinic, host: str) -> None:
    """It waits for a route that the engine does not have."""
    clinic.engine(host, startupProbe={"httpGet": {"path": "/nowhere", "port": "http"}, "periodSeconds": 2, "failureThreshold": 450})
    path, query = POD.path(NAMESPACE), {"labelSelector": f"{INSTANCE}={host}"}
    clinic.until(lambda: any(pod["status"]["phase"] == "Running" for pod in clinic.admin.request("GET", path, query=query)["items"]))


@ailment
def not_answering(clinic: Clinic, host: str) -> None:
    clinic.engine(host, readinessProbe={"httpGet": {"path": "/nowhere", "port": "http"}, "periodSeconds": 1})


@ailment
def wrong_key(clinic: Clinic, host: str) -> None:
    """The Secret changes under the running engine."""
    clinic.engine(host, pod={"volumes": clinic.key(host)})
    deployment, secret = clinic.made[-1], clinic.made[-2]
    clinic.until(lambda: clinic.admin.request("GET", deployment)["status"].get("readyReplicas"))
    clinic.admin.request("PATCH", secret, {"data": key_data("another key")}, None, MERGE_PATCH)


@ailment
def cpu_fallback(clinic: Clinic, host: str) -> None:
    """The sandbox's llama-server knows no GPU."""
    clinic.engine(host, gpus=1, pod={"volumes": clinic.key(host)})


def examined(engineer: Kube, cause: str, host: str) -> Evidence:
    """What is read of an ill deployment with its engineer's rights, once its cause shows."""
    end = time.monotonic() + 60
    while True:
        evidence = Ward(engineer, NAMESPACE, "").examine(Patient(host, "llama_cpp", "", cause == "cpu_fallback"))
        found = diagnose(evidence)
        if found.cause.name == cause:
            return evidence
        assert time.monotonic() < end, f"{host}: {found.cause.name}: {found.proof}"
        time.sleep(0.5)


def trimmed(evidence: dict[str, Any]) -> dict[str, Any]:
    """Evidence with no more of the objects than their doctor may look at, and the last 40 lines of a log."""
    log = "\n".join(evidence["log"].splitlines()[-40:])
    return evidence | {name: only(evidence[name], fields) for name, fields in FIELDS.items()} | {"log": log}


CONDITIONS = dict.fromkeys(("type", "status", "reason", "message"), {})
CONTAINER = dict.fromkeys(("name", "image", "args", "resources", "startupProbe", "ports"), {})
STATE = dict.fromkeys(("name", "ready", "started", "state", "lastState"), {})
# The fields of objects that are recorded; an empty dict is all there is.
FIELDS: dict[str, Any] = {
    "deployment": {"kind": {}, "metadata": {"name": {}}, "spec": {"replicas": {}}, "status": {"conditions": CONDITIONS}},
    "job": {"kind": {}, "metadata": {"name": {}}, "status": {"conditions": CONDITIONS}},
    "pod": {
        "metadata": {"name": {}},
        "spec": {"nodeName": {}, "nodeSelector": {}, "tolerations": {}, "initContainers": CONTAINER, "containers": CONTAINER},
        "status": dict.fromkeys(("phase", "reason", "message"), {})
        | {"conditions": CONDITIONS, "initContainerStatuses": STATE, "containerStatuses": STATE},
    },
    "claim": {"metadata": {"name": {}, "annotations": {}}, "spec": {"storageClassName": {}}, "status": {"phase": {}}},
    "events": dict.fromkeys(("reason", "message", "type"), {}),
    "nodes": {
        "metadata": {"name": {}, "labels": {"selfhosted.llm/pool": {}}},
        "spec": {"taints": {}, "unschedulable": {}},
        "status": {"allocatable": {GPU: {}}, "conditions": CONDITIONS},
    },
}


def only(value: Any, fields: dict[str, Any]) -> Any:
    """A value with these fields, and those in them; whole where none is named."""
    if isinstance(value, list):
        return [only(entry, fields) for entry in value]
    return {key: only(value[key], inner) for key, inner in fields.items() if key in value} if fields else value


def main() -> None:
    clinic = Clinic(Kube(os.environ["KUBECONFIG"]))
    alice = Kube(f"{os.environ['SANDBOX_STATE']}/kubeconfigs/alice.yml")
    for cause in sys.argv[1:] or AILMENTS:
        try:
            evidence = examined(alice, cause, clinic.admit(cause))
            (RECORDS / f"{cause}.json").write_text(json.dumps(trimmed(evidence._asdict()), indent=1) + "\n")
            print(cause, "-", diagnose(evidence).proof, flush=True)
        except Exception as error:
            print(cause, "FAILED", repr(error), flush=True)
        finally:
            clinic.discharge()


if __name__ == "__main__":
    main()
