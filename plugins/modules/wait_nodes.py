#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_nodes
short_description: Wait until the nodes of GPU pools are ready and advertise their GPUs
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - A node of a pool advertises C(nvidia.com/gpu), cards times slots. Pools without GPUs are left out.
  - Finds the nodes by the label C(selfhosted.llm/pool). Does not wait in check mode.
  - Where they do not do so in time, fails with one cause of a closed list (docs/gpu-nodes.md) for each node, with its proof and cure.
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
  timeout:
    description: How long that may take, in seconds.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Wait for two GPU nodes
  selfhosted.llm.wait_nodes:
    kubeconfig: ~/.kube/config
    pools:
      - {name: llm, instance_type: gpu3.small, size: 2}
"""

RETURN = r"""#"""
