#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_deployments
short_description: Wait until all engineers' deployments are ready
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Waits for every deployment on the cluster that wants a pod, whichever inventory it comes from. Does not wait in check mode.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
options:
  timeout:
    description: How long all of them may take together, in seconds.
    type: int
    default: 1200
"""

EXAMPLES = r"""
- name: Wait until everybody is served again
  selfhosted.llm.wait_deployments:
    kubeconfig: ~/.kube/config
"""

RETURN = r"""
deployments:
  description: Names of the deployments that were waited for.
  returned: success
  type: list
  elements: str
  sample: [alice-chat]
"""
