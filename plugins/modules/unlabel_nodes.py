#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: unlabel_nodes
short_description: Take from nodes what node feature discovery wrote there, once it is gone
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Node feature discovery does not take its labels and annotations along when it is removed. While a cluster still has its custom
    resources, somebody runs it, and nothing is done.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
"""

EXAMPLES = r"""
- name: Leave nothing of node feature discovery
  selfhosted.llm.unlabel_nodes:
    kubeconfig: ~/.kube/config
"""

RETURN = r"""
nodes:
  description: Names of the nodes that had something of it.
  returned: success
  type: list
  elements: str
  sample: [pool-1a2b3-xyz]
"""
