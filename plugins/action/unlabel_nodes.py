# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.unlabel_nodes; its documentation is in plugins/modules/unlabel_nodes.py."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import read
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import NODE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import undiscovered
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction

# While it is there, somebody runs node feature discovery.
FEATURES = {"kind": "CustomResourceDefinition", "metadata": {"name": "nodefeatures.nfd.k8s-sigs.io"}}


class ActionModule(ClusterAction):
    """Take from nodes what node feature discovery wrote there, once it is gone."""

    def execute(self, args: dict, host: str) -> dict:
        changed = []
        with self.cluster(args) as kube:
            nodes = kube.request("GET", NODE.path())["items"] if kube and not read(kube, FEATURES) else []
            for node in nodes:
                if patch := undiscovered(node):
                    changed.append(node["metadata"]["name"])
                    if not self._task.check_mode:
                        kube.request("PATCH", NODE.path(name=changed[-1]), patch, content_type=MERGE_PATCH)
        return {"changed": bool(changed), "nodes": changed}
