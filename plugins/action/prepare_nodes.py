# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.prepare_nodes; its documentation is in plugins/modules/prepare_nodes.py."""

from __future__ import annotations

import time

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import NODE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import POOL_ID, Marks, marked
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.ready import node_is_ready
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress


class ActionModule(ClusterAction):
    """Wait until the nodes of pools are ready, and bring the pools' labels and taints to them."""

    argument_spec = {
        "pools": {"type": "list", "elements": "dict", "required": True},
        "timeout": {"type": "int", "default": 600},
    }

    def execute(self, args: dict, host: str) -> dict:
        report, start = Progress(host, args["timeout"]), time.monotonic()
        changed: dict[str, None] = {}
        with self.cluster(args) as kube:
            while kube:
                lacks = [lack for pool in args["pools"] if (lack := self._prepare(kube, pool, changed))]
                if self._task.check_mode or not lacks:
                    break
                if (elapsed := time.monotonic() - start) > args["timeout"]:
                    raise UserError(f"After {args['timeout']} s not all nodes are ready: {'; '.join(lacks)}.")
                report("; ".join(lacks), elapsed)
                time.sleep(1)
        return {"changed": bool(changed), "nodes": list(changed)}

    def _prepare(self, kube: Kube, pool: dict, changed: dict[str, None]) -> str:
        """Mark the nodes that a pool has now; return what it still lacks, and note which nodes were changed."""
        nodes = kube.request("GET", NODE.path(), query={"labelSelector": f"{POOL_ID}={pool['id']}"})["items"]
        for node in nodes:
            if patch := marked(node, Marks(pool["labels"], pool["taints"])):
                name = node["metadata"]["name"]
                if not self._task.check_mode:
                    try:
                        kube.request("PATCH", NODE.path(name=name), patch, content_type=MERGE_PATCH)
                    except KubeError as error:
                        if error.status != 409:
                            raise
                        return f"node {name} of pool {pool['name']} was changed by something else at the same time"
                changed[name] = None
        ready = sum(map(node_is_ready, nodes))
        return f"pool {pool['name']} has {ready} of {pool['size']} nodes ready" if ready < pool["size"] else ""
