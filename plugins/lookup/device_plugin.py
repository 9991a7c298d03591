# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: device_plugin
short_description: What gives nodes their GPUs already, other than this collection
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Finds DaemonSets of NVIDIA's device plugin or GPU operator in all namespaces, and else nodes of the pools that have GPUs to give
    although this collection has installed no device plugin, as a node template may bring one along.
options:
  _terms:
    description:
      - The kubeconfig file that opens the cluster, and records of GPU pools, as P(selfhosted.llm.gpu_pools#filter) makes them.
      - With a file that does not exist nothing is found.
    type: list
    elements: raw
    required: true
"""

EXAMPLES = r"""
- name: Show who gives the nodes their GPUs
  ansible.builtin.debug:
    msg: "{{ lookup('selfhosted.llm.device_plugin', sks_gpu_nodes_kubeconfig, sks_gpu_nodes_pools | selfhosted.llm.gpu_pools) }}"
"""

RETURN = r"""
_raw:
  description: The beginning of a sentence such as V(DaemonSet kube-system/nvidia runs k8s-device-plugin:v0.17.0), or an empty text.
  type: list
  elements: str
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import POOL_LABEL
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, NODE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.nodes import other_device_plugin
from ansible_collections.selfhosted.llm.plugins.plugin_utils.lookup import ask


class LookupModule(LookupBase):
    """The lookup selfhosted.llm.device_plugin."""

    def run(self, terms, variables=None, **kwargs):
        path, pools = terms
        return [ask(path, lambda kube: _found(kube, [pool["name"] for pool in pools]), "")]


def _found(kube: Kube, pools: list[str]) -> str:
    plugins = kube.request("GET", BY_NAME["DaemonSet"].path())["items"]
    nodes = kube.request("GET", NODE.path(), query={"labelSelector": f"{POOL_LABEL} in ({','.join(pools)})"})["items"] if pools else []
    return other_device_plugin(plugins, nodes)
