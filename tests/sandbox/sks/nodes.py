# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes workers of the kind cluster the nodes that an organisation's instances are."""
from __future__ import annotations

import http.client
import json
import ssl
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

from .authority import Authority
from .organisation import Organisation

NO_POOL = {"key": "sandbox/no-pool", "effect": "NoSchedule"}  # tables.NO_POOL
POOL = "node.exoscale.net/nodepool-id"
INSTANCE = "sandbox/instance"  # annotation: the instance that a worker is, and the labels which that gave it


class Kubernetes:
    """The API server of the kind cluster, asked with full rights."""

    def __init__(self, folder: Path):
        self._address = urlsplit((folder / "server").read_text().strip()).netloc
        authority = Authority(folder)
        self._context = ssl.create_default_context(cadata=authority.certificate.decode())
        with tempfile.NamedTemporaryFile(dir=folder) as file:  # ssl takes certificates from files only
            file.write(b"".join(authority.issue("sandbox-exoscale", ["system:masters"], 3600)))
            file.flush()
            self._context.load_cert_chain(file.name)

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """The answer to a request; a body is a merge patch.

        Raises:
            OSError, HTTPException: there is no good answer.
        """
        connection = http.client.HTTPSConnection(self._address, timeout=10, context=self._context)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/merge-patch+json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: {content['message']}")
        return content


class Nodes(threading.Thread):
    """Follows an organisation, and tries again until the API server answers."""

    def __init__(self, organisation: Organisation, folder: Path):
        super().__init__(daemon=True)
        self._organisation, self._folder = organisation, folder
        self._done: dict[str, str | None] = {}  # by worker, its instance

    def run(self) -> None:
        """See threading.Thread."""
        pause, said = 0.0, ""
        while True:
            self._organisation.changed.wait(pause)
            self._organisation.changed.clear()
            try:
                self._organisation.settle()
                self.reconcile()
                pause, said = self._organisation.pause(), ""
            except (OSError, http.client.HTTPException, ValueError) as error:
                pause = 1.0
                if said != (said := str(error)):
                    print(time.strftime("%H:%M:%S"), f"Nodes wait for the API server: {said}", flush=True)

    def reconcile(self) -> None:
        """Bring all workers to what the organisation's instances are."""
        wanted = self._organisation.nodes()
        workers = {place.name: wanted.get(place.name) for place in sorted((self._folder / "nodes").glob("*"))}
        new = {worker: instance for worker, instance in workers.items()
               if worker not in self._done or self._done[worker] != (instance and instance["id"])}
        kubernetes = Kubernetes(self._folder) if new else None
        for worker, instance in new.items():
            self._bring(kubernetes, worker, instance)
            self._done[worker] = instance and instance["id"]

    def _bring(self, kubernetes: Kubernetes, worker: str, instance: dict | None) -> None:
        gpus, path = self._folder / "nodes" / worker / "gpus", f"/api/v1/nodes/{worker}"
        patch = patch_for(kubernetes.call("GET", path), instance)
        if instance and instance["_gpus"]:
            gpus.write_text(f"{instance['_gpus']}\n")
        else:
            gpus.unlink(missing_ok=True)
        if patch:
            kubernetes.call("PATCH", path, patch)
        if patch or not instance:
            for pod in kubernetes.call("GET", f"/api/v1/pods?fieldSelector={quote(f'spec.nodeName={worker}')}")["items"]:
                if not stays(pod):
                    about = pod["metadata"]
                    kubernetes.call("DELETE", f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}"
                                    "?gracePeriodSeconds=1")
        what = f"is of pool {instance['_pool']}" if instance else "is of no pool"
        print(time.strftime("%H:%M:%S"), f"Worker {worker} {what}", flush=True)


def patch_for(node: dict, instance: dict | None) -> dict | None:
    """Merge patch that makes a Node the new node of an instance, or of none; None: it is that already."""
    about = node["metadata"]
    known = json.loads(about.get("annotations", {}).get(INSTANCE, "{}"))
    if known.get("id") == (instance and instance["id"]):
        return None
    gone = {name: None for name in about.get("labels", {}) if name in known.get("labels", ()) or not of_kubernetes(name)}
    labels = instance["_labels"] | {POOL: instance["_pool"]} if instance else {}
    taints = [taint for taint in node["spec"].get("taints", ()) if of_kubernetes(taint["key"])]
    if instance:
        taints += [{"key": key, **taint} for key, taint in instance["_taints"].items()]
    else:
        taints.append(NO_POOL)
    note = json.dumps({"id": instance["id"], "labels": sorted(labels)}) if instance else None
    return {"metadata": {"resourceVersion": about["resourceVersion"], "labels": gone | labels,
                         "annotations": {INSTANCE: note}},
            "spec": {"taints": taints, "unschedulable": None}}


def of_kubernetes(key: str) -> bool:
    """Whether a label or taint is Kubernetes' own: a new node has it too."""
    return key.partition("/")[0].endswith(("kubernetes.io", "k8s.io"))


def stays(pod: dict) -> bool:
    """Whether a pod belongs to a node as such: a static pod, or one of the system's DaemonSets."""
    owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", ())}
    return "Node" in owners or "DaemonSet" in owners and pod["metadata"]["namespace"] == "kube-system"
