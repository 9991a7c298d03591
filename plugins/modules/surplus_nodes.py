#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: surplus_nodes
short_description: Choose the nodes that pools lose when they become smaller
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Counts the nodes by the label C(selfhosted.llm/pool). Of a pool with more nodes than its size, those are chosen that are not ready,
    then those with the fewest pods. Says what runs there. Writes nothing.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
options:
  pools:
    description: Node pools as in the role P(selfhosted.llm.sks_gpu_nodes#role).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Choose the nodes that go when the pool llm gets one node
  selfhosted.llm.surplus_nodes:
    kubeconfig: ~/.kube/config
    pools:
      - {name: llm, instance_type: gpu3.small, size: 1}
"""

RETURN = r"""
nodes:
  description: Names of the chosen nodes by pool, for pools that lose some.
  returned: success
  type: dict
  sample: {llm: [pool-1a2b3-xyz]}
"""
