#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prepare_nodes
short_description: Wait until the nodes of pools are ready, with the labels and taints of their pool
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - SKS gives a pool's labels and taints to new nodes only. This brings them to the nodes that are there, and takes away those that
    the pool gave and gives no more. Labels and taints of others stay.
  - Finds the nodes by SKS's label C(node.exoscale.net/nodepool-id). Does not wait in check mode.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
options:
  pools:
    description:
      - Node pools, as M(selfhosted.llm.sks_nodepool) returns them, of which the fields C(id), C(name), C(size), C(labels) and
        C(taints) are used.
    type: list
    elements: dict
    required: true
  timeout:
    description: How long that may take, in seconds.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Look the pool up
  selfhosted.llm.sks_nodepool:
    zone: de-fra-1
    cluster: llm
    name: gpu
  register: pool

- name: Wait for its nodes
  selfhosted.llm.prepare_nodes:
    kubeconfig: ~/.kube/config
    pools: ["{{ pool.nodepool }}"]
"""

RETURN = r"""
nodes:
  description: Names of the nodes whose labels or taints were changed, or would be.
  returned: success
  type: list
  elements: str
"""
