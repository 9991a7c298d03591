#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sks_nodepool_info
short_description: Show the node pools of an Exoscale SKS cluster with their nodes
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Returns node pools as M(selfhosted.llm.sks_nodepool) describes them, and their nodes, whose names that module takes
    in O(selfhosted.llm.sks_nodepool#module:evict).
  - A pool or a cluster that does not exist is no error.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
attributes:
  diff_mode:
    support: N/A
    details: There is nothing that changes.
options:
  cluster:
    description: Name or id of the cluster.
    type: str
    required: true
  name:
    description: Name or id of the only pool to show.
    type: str
seealso:
  - module: selfhosted.llm.sks_nodepool
"""

EXAMPLES = r"""
- name: Get all pools of the cluster
  selfhosted.llm.sks_nodepool_info:
    zone: de-fra-1
    cluster: llm
  register: pools

- name: Get one
  selfhosted.llm.sks_nodepool_info:
    zone: de-fra-1
    cluster: llm
    name: gpu
  register: gpu_pool
"""

RETURN = r"""
nodepools:
  description: The pools; empty where there is no such cluster, or no pool of O(name).
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Id of the pool; its nodes have it in the label C(node.exoscale.net/nodepool-id).
      type: str
      sample: 7f3a9b52-1b0e-4a58-9d62-2b2c4d1f9e11
    name:
      description: Its name.
      type: str
      sample: gpu
    cluster:
      description: Name of its cluster.
      type: str
      sample: llm
    state:
      description: Its state.
      type: str
      sample: running
    version:
      description: Kubernetes version of new nodes.
      type: str
      sample: 1.34.1
    instance_type:
      description: Family and size of its nodes.
      type: str
      sample: gpu3.small
    size:
      description: Number of nodes.
      type: int
      sample: 1
    disk_size:
      description: Disk of each node in GiB.
      type: int
      sample: 400
    instance_prefix:
      description: What the nodes' names begin with.
      type: str
      sample: pool
    labels:
      description: Labels of the nodes.
      type: dict
      sample: {role: llm}
    taints:
      description: Taints of the nodes.
      type: dict
      sample: {nodepool: {value: llm, effect: NoSchedule}}
    description:
      description: Its description, empty where it has none.
      type: str
      sample: ''
    security_groups:
      description: Ids of the nodes' security groups.
      type: list
      elements: str
      sample: [5a39d9c6-1a5c-4d1c-8d0f-3a8f0d7b5a0e]
    anti_affinity_groups:
      description: Ids of the nodes' anti-affinity groups.
      type: list
      elements: str
      sample: []
    private_networks:
      description: Ids of the nodes' private networks.
      type: list
      elements: str
      sample: []
    deploy_target:
      description: Id of its deploy target, empty where it has none.
      type: str
      sample: ''
    nvidia_mig_profiles:
      description: How GPUs are partitioned.
      type: dict
      sample: {}
    kubelet_image_gc:
      description: When a node removes images, named like the option.
      type: dict
      sample: {high_threshold: 85, low_threshold: 80, min_age: 2m}
    kubelet_max_pods:
      description: How many pods a node has at most, V(0) where that is left to the kubelet.
      type: int
      sample: 0
    addons:
      description: What SKS adds to the nodes.
      type: list
      elements: str
      sample: []
    public_ip_assignment:
      description: Which public addresses nodes have.
      type: str
      sample: inet4
    nodes:
      description:
        - Its nodes with C(id), C(name), which Kubernetes has too, and C(state) of the instance, the oldest first.
      type: list
      elements: dict
      sample: [{id: 1d0e3b44-52f5-4f2a-8a14-1f3c2d9f0a51, name: pool-3f2a1-xkzqp, state: running}]
"""

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import ExoscaleModule, find
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.sks import InstanceTypes, pool_facts, pool_nodes


class NodePoolInfo(ExoscaleModule):
    """What there is of node pools."""

    def present(self) -> dict:
        """See ExoscaleModule."""
        cluster = find("cluster", self.options["cluster"], self.api.zone, self.clusters())
        pools = cluster.get("nodepools", []) if cluster else []
        if name := self.options["name"]:
            pools = [pool] if (pool := find("node pool", name, self.options["cluster"], pools)) else []
        types, instances = InstanceTypes(self.api), self.api.call("list-instances")["instances"] if pools else []
        return {
            "changed": False,
            "nodepools": [pool_facts(cluster, pool, types) | {"nodes": pool_nodes(pool, instances)} for pool in pools],
        }


def main() -> None:
    """Run the module."""
    NodePoolInfo.run({"cluster": {"type": "str", "required": True}, "name": {"type": "str"}})


if __name__ == "__main__":
    main()
