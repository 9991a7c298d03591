#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: connect
short_description: Forward a local port to a deployment and write what an OpenAI client needs
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Writes a shell file, mode 0600, that exports E(OPENAI_BASE_URL), E(OPENAI_API_KEY) and E(OPENAI_MODEL), and forwards a port on
    127.0.0.1 to the deployment's pod until interrupted. A restarted pod is found again by the next connection.
  - Where the deployment has no API key, E(OPENAI_API_KEY) is C(none).
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
  - selfhosted.llm.deployment
options:
  local_port:
    description: Port on this machine; V(0) takes a free one.
    type: int
    default: 0
  dest:
    description: The file to write.
    type: path
    required: true
  seconds:
    description: End after so many seconds. Until interrupted where not given.
    type: int
"""

EXAMPLES = r"""
- name: Forward until Ctrl-C
  selfhosted.llm.connect:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    instance: alice-chat
    dest: ~/.selfhosted-llm/alice-chat.env
"""

RETURN = r"""#"""
