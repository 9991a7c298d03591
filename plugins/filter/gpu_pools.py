# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_pools
short_description: What engineers must know of the GPU pools among some node pools
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Makes the record of a GPU pool that the platform publishes and engineers' plans read; pools without GPUs are left out.
options:
  _input:
    description: Node pools as in O(selfhosted.llm.sks_gpu_nodes#role:main:sks_gpu_nodes_pools).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the share that one slot of each pool has
  ansible.builtin.debug:
    msg: "{{ sks_gpu_nodes_pools | selfhosted.llm.gpu_pools | map(attribute='slot_mib') }}"
"""

RETURN = r"""
_value:
  description:
    - For each GPU pool C(name), C(instance_type), C(nodes), C(eur_per_node_hour), C(gpu), C(gpus_per_node), C(slots_per_gpu),
      C(slot_mib) (MiB), C(device_list_strategy), C(eur_per_slot_hour), C(node_selector) and C(tolerations).
  type: list
  elements: dict
"""

from ansible.errors import AnsibleFilterError

from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import PoolError, pool_record


def gpu_pools(pools: list[dict]) -> list[dict]:
    """Records of the pools that have GPUs."""
    try:
        return [record for pool in pools if (record := pool_record(pool))]
    except PoolError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter selfhosted.llm.gpu_pools."""

    def filters(self):
        return {"gpu_pools": gpu_pools}
