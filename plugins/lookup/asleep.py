# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: asleep
short_description: Since when the GPU pools of a platform sleep
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Reads the platform's record on the cluster, which C(playbooks/hibernate.yml) and C(playbooks/wake.yml) write.
options:
  _terms:
    description: The kubeconfig file that opens the cluster. A file or a record that does not exist counts as awake.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Show since when the pools sleep
  ansible.builtin.debug:
    msg: "{{ lookup('selfhosted.llm.asleep', '~/.kube/selfhosted-llm/llm-frankfurt-admin.yml') }}"
"""

RETURN = r"""
_raw:
  description: A time in UTC such as V(2026-11-25T18:00:00Z), or an empty text.
  type: list
  elements: str
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import read_record
from ansible_collections.selfhosted.llm.plugins.plugin_utils.lookup import ask


class LookupModule(LookupBase):
    """The lookup selfhosted.llm.asleep."""

    def run(self, terms, variables=None, **kwargs):
        return [ask(path, _asleep, "") for path in terms]


def _asleep(kube: Kube) -> str:
    record = read_record(kube)
    return record.asleep if record else ""
