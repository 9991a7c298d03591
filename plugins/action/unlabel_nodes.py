# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.unlabel_nodes; its documentation is in plugins/modules/unlabel_nodes.py."""

from __future__ import annotations

import time

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_evidence import NAMESPACE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import read
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import NODE, POD
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import undiscovered
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress

# While it is there and not about to go, somebody runs node feature discovery.
FEATURES = {"kind": "CustomResourceDefinition", "metadata": {"name": "nodefeatures.nfd.k8s-sigs.io"}}
# Of ours, who writes to the nodes until the very end.
MASTER = "app.kubernetes.io/name=nfd-master"
PATIENCE = 120  # seconds, more than a pod takes to end


class ActionModule(ClusterAction):
    """Take from nodes what node feature discovery wrote there, once it is gone."""

    def execute(self, args: dict, host: str) -> dict:
        changed, report, start = [], Progress(host, PATIENCE), time.monotonic()
        with self.cluster(args) as kube:
            while kube and (features := read(kube, FEATURES)) | _masters(kube):
                elapsed = time.monotonic() - start
                if self._task.check_mode or (features and not features["metadata"].get("deletionTimestamp")) or elapsed > PATIENCE:
                    return {"changed": False, "nodes": []}
                report("node feature discovery ends", elapsed)
                time.sleep(1)
            for node in kube.request("GET", NODE.path())["items"] if kube else ():
                if patch := undiscovered(node):
                    changed.append(node["metadata"]["name"])
                    if not self._task.check_mode:
                        kube.request("PATCH", NODE.path(name=changed[-1]), patch, content_type=MERGE_PATCH)
        return {"changed": bool(changed), "nodes": changed}


def _masters(kube: Kube) -> dict[str, dict]:
    """Its live Pods, by name."""
    pods = kube.request("GET", POD.path(NAMESPACE), query={"labelSelector": MASTER})["items"]
    return {pod["metadata"]["name"]: pod for pod in pods}
