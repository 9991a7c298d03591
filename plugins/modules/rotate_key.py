#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rotate_key
short_description: Replace the API keys of a deployment
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Makes new keys for the owner and for each colleague with whom the deployment is shared, restarts the deployment, as engines read
    keys only then, and asks the endpoint with the new one. The former keys end with the former pod.
  - Nothing is printed of the keys. C(playbooks/connect.yml) writes the new one to the file for clients.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
  - selfhosted.llm.deployment
options:
  timeout:
    description: How long the deployment may take until it is ready again, in seconds.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Replace the keys
  selfhosted.llm.rotate_key:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    instance: alice-chat
"""

RETURN = r"""
colleagues:
  description: Secrets of colleagues that hold a new key, too.
  returned: always
  type: list
  elements: str
restarted:
  description: Whether pods were restarted, or would be; false for a deployment without any.
  returned: always
  type: bool
"""
