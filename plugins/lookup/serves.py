# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: serves
short_description: Whether a cluster serves an API
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Asks the cluster, so that a role can use what an operator brought and do without it elsewhere.
options:
  _terms:
    description: Versions of API groups, such as V(monitoring.coreos.com/v1).
    type: list
    elements: str
    required: true
  kubeconfig:
    description: The kubeconfig file that opens the cluster. Where there is no such file there is no cluster yet, which serves nothing.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Show whether there is a Prometheus Operator
  ansible.builtin.debug:
    msg: "{{ lookup('selfhosted.llm.serves', 'monitoring.coreos.com/v1', kubeconfig='~/.kube/selfhosted-llm/llm-frankfurt-admin.yml') }}"
"""

RETURN = r"""
_raw:
  description: For each version whether the cluster serves it.
  type: list
  elements: bool
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.plugin_utils.lookup import ask


class LookupModule(LookupBase):
    """The lookup selfhosted.llm.serves."""

    def run(self, terms, variables=None, **kwargs):
        return ask(kwargs["kubeconfig"], lambda kube: [_serves(kube, version) for version in terms], [False for _version in terms])


def _serves(kube: Kube, version: str) -> bool:
    try:
        kube.request("GET", f"/apis/{version}")
    except KubeError as error:
        if error.status == 404:
            return False
        raise
    return True
