# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.wait_nodes; its documentation is in plugins/modules/wait_nodes.py."""

from __future__ import annotations

import time

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import POOL_LABEL, pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import NODE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.ready import node_is_ready
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress


class ActionModule(ClusterAction):
    """Wait until the nodes of GPU pools are ready and advertise their GPUs."""

    argument_spec = {
        "pools": {"type": "list", "elements": "dict", "required": True},
        "timeout": {"type": "int", "default": 600},
    }

    def execute(self, args: dict, host: str) -> dict:
        report, start = Progress(host, args["timeout"]), time.monotonic()
        with self.cluster(args) as kube:
            while not self._task.check_mode and (missing := _missing(kube, args["pools"])):
                elapsed = time.monotonic() - start
                if elapsed > args["timeout"]:
                    raise UserError(f"After {args['timeout']} s the nodes are not prepared: {missing}.")
                report(missing, elapsed)
                time.sleep(1)
        return {"changed": False}


def _missing(kube: Kube, pools: list[dict]) -> str:
    """What the pools still lack, pool by pool; empty when nothing does."""
    lacks = []
    for pool in pools:
        record = pool_record(pool)
        if not record:
            continue
        nodes = kube.request("GET", NODE.path(), query={"labelSelector": f"{POOL_LABEL}={pool['name']}"})["items"]
        ready = sum(map(node_is_ready, nodes))
        wanted = pool["size"]
        if ready < wanted:
            lacks.append(f"pool {pool['name']} has {ready} of {wanted} nodes ready")
        else:
            slots = record["gpus_per_node"] * record["slots_per_gpu"]
            have = [int(node["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) for node in nodes if node_is_ready(node)]
            if have.count(slots) < wanted:
                lacks.append(f"pool {pool['name']} advertises nvidia.com/gpu {have} where {wanted} x {slots} are wanted")
    return "; ".join(lacks)
