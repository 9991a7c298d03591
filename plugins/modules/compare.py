#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compare
short_description: Put the same prompts to two deployments
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Asks two running deployments the same, at temperature 0 and with one seed, and says how fast each answers and how alike the answers
    are, by the share that is the same and by the words in the same order.
  - Fails only where an answer is missing. In check mode it says what it would do.

extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
  - selfhosted.llm.deployment
options:
  other:
    description: Another deployment of the same engineer.
    type: str
    required: true
  prompts:
    description: What to ask.
    type: list
    elements: str
    required: true
  answer_tokens:
    description: Length of an answer in tokens, at most.
    type: int
    default: 128
  dest:
    description: File (JSON) with all answers.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Compare two engines
  selfhosted.llm.compare:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    instance: alice-chat
    other: alice-chat-vllm
    prompts:
      - What is the capital of France?
    dest: ~/.selfhosted-llm/compare/alice-chat.json
"""

RETURN = r"""
comparison:
  description: What was written to the file.
  returned: success, not in check mode
  type: dict
"""
