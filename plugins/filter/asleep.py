# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: asleep
short_description: Node pools as they are while the GPU pools sleep
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Gives the pools with GPUs the size 0, and leaves the others as they are.
options:
  _input:
    description: Node pools as in O(selfhosted.llm.sks_gpu_nodes#role:main:sks_gpu_nodes_pools).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the size of each pool while the GPU pools sleep
  ansible.builtin.debug:
    msg: "{{ sks_gpu_nodes_pools | selfhosted.llm.asleep | map(attribute='size') }}"
"""

RETURN = r"""
_value:
  description: The same pools.
  type: list
  elements: dict
"""

from ansible_collections.selfhosted.llm.plugins.module_utils.platform import asleep


class FilterModule:
    """The filter selfhosted.llm.asleep."""

    def filters(self):
        return {"asleep": asleep}
