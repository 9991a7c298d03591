# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.surplus_nodes; its documentation is in plugins/modules/surplus_nodes.py."""

from __future__ import annotations

from collections import defaultdict

from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import POOL_LABEL
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import NODE, POD
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import in_order_of_loss
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction


class ActionModule(ClusterAction):
    """Choose the nodes that pools lose, and say what runs there."""

    argument_spec = {"pools": {"type": "list", "elements": "dict", "required": True}}

    def execute(self, args: dict, host: str) -> dict:
        chosen: dict[str, list[str]] = {}
        with self.cluster(args) as kube:
            if kube is None:
                return {"changed": False, "nodes": chosen}
            nodes: dict[str, list[dict]] = defaultdict(list)
            for node in kube.request("GET", NODE.path(), query={"labelSelector": POOL_LABEL})["items"]:
                nodes[node["metadata"]["labels"][POOL_LABEL]].append(node)
            shrinking = {pool["name"]: len(nodes[pool["name"]]) - int(pool["size"]) for pool in args["pools"]}
            pods = _pods(kube) if any(number > 0 for number in shrinking.values()) else {}
            for pool, number in shrinking.items():
                for name in in_order_of_loss(nodes[pool], pods)[: max(number, 0)]:
                    chosen.setdefault(pool, []).append(name)
                    running = ", ".join(pods.get(name, ())) or "nothing"
                    Display().display(f"  {host}: pool {pool} loses the node {name}, where {running} runs")
        return {"changed": False, "nodes": chosen}


def _pods(kube: Kube) -> dict[str, list[str]]:
    """Names of the pods on each node, without those that every node has."""
    found: dict[str, list[str]] = defaultdict(list)
    for pod in kube.request("GET", POD.path())["items"]:
        owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", ())}
        if pod["status"].get("phase") not in ("Succeeded", "Failed") and not owners & {"DaemonSet", "Node"}:
            found[pod["spec"].get("nodeName", "")].append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
    return found
