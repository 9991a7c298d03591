#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sks_cluster_info
short_description: Show the Exoscale SKS clusters of a zone
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Returns clusters as M(selfhosted.llm.sks_cluster) describes them. One that does not exist is no error.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
attributes:
  diff_mode:
    support: N/A
    details: There is nothing that changes.
options:
  name:
    description: Name or id of the only cluster to show.
    type: str
  ca_certificates:
    description: Whether the result has the certificates of each cluster's authorities, which takes three requests each.
    type: bool
    default: false
seealso:
  - module: selfhosted.llm.sks_cluster
"""

EXAMPLES = r"""
- name: Get all clusters of the zone
  selfhosted.llm.sks_cluster_info:
    zone: de-fra-1
  register: all_clusters

- name: Get one with its certificates
  selfhosted.llm.sks_cluster_info:
    zone: de-fra-1
    name: llm
    ca_certificates: true
  register: one_cluster
"""

RETURN = r"""
clusters:
  description: The clusters; empty where there is none, or none of O(name).
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Id of the cluster.
      type: str
      sample: 8561ee34-09f0-42da-a765-abde807f944b
    name:
      description: Its name.
      type: str
      sample: llm
    endpoint:
      description: Address of its Kubernetes API.
      type: str
      sample: https://8561ee34-09f0-42da-a765-abde807f944b.sks-de-fra-1.exo.io:443
    state:
      description: State of the control plane.
      type: str
      sample: running
    level:
      description: Service level.
      type: str
      sample: starter
    version:
      description: Kubernetes version of the control plane.
      type: str
      sample: 1.34.1
    cni:
      description: Network plugin.
      type: str
      sample: calico
    addons:
      description: What SKS runs in it.
      type: list
      elements: str
      sample: [exoscale-cloud-controller, metrics-server]
    auto_upgrade:
      description: Whether SKS upgrades it to new patches.
      type: bool
      sample: false
    description:
      description: Its description, empty where it has none.
      type: str
      sample: ''
    labels:
      description: Its labels at Exoscale.
      type: dict
      sample: {}
    feature_gates:
      description: Alpha features of its API server.
      type: list
      elements: str
      sample: []
    oidc:
      description: Its OpenID provider, named like the option; empty where it has none.
      type: dict
      sample: {}
    audit:
      description:
        - Where what is done in it is sent, with C(enabled), C(endpoint) and C(initial_backoff), never the token.
      type: dict
      sample: {}
    enable_kube_proxy:
      description: Whether SKS runs kube-proxy.
      type: bool
      sample: true
    enable_operators_ca:
      description: Whether it trusts the authority of Exoscale's operators.
      type: bool
      sample: true
    default_security_group:
      description: Whether it has a security group of its own.
      type: bool
      sample: true
    default_security_group_id:
      description: Id of that group, null where there is none.
      type: str
      sample: 5a39d9c6-1a5c-4d1c-8d0f-3a8f0d7b5a0e
    nodepools:
      description: Names of its node pools.
      type: list
      elements: str
      sample: [default, llm]
    ca_certificates:
      description:
        - Certificates of its authorities in PEM, as C(aggregation), C(control_plane) and C(kubelet). They are public.
        - Empty without O(ca_certificates=true).
      type: dict
      sample:
        control_plane: "-----BEGIN CERTIFICATE-----..."
"""

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import ExoscaleModule, find
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.sks import cluster_facts


class ClusterInfo(ExoscaleModule):
    """What there is of clusters."""

    def present(self) -> dict:
        """See ExoscaleModule."""
        clusters = self.clusters()
        if name := self.options["name"]:
            clusters = [cluster] if (cluster := find("cluster", name, self.api.zone, clusters)) else []
        certificates = self.options["ca_certificates"]
        return {"changed": False, "clusters": [cluster_facts(self.api, cluster, certificates) for cluster in clusters]}


def main() -> None:
    """Run the module."""
    ClusterInfo.run({"name": {"type": "str"}, "ca_certificates": {"type": "bool", "default": False}})


if __name__ == "__main__":
    main()
