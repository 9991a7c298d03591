#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: smoke
short_description: Ask a deployment in every way it can be asked
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Asks the running deployment for its models, and for completions on OpenAI's routes and on its engine's own, at once and streamed; for
    embeddings where it serves those. With a key that is not its own each route must refuse.
  - Prints a table, and fails where an answer is wrong. Writes nothing. In check mode it lists what it would ask.

extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
  - selfhosted.llm.deployment
"""

EXAMPLES = r"""
- name: Ask in every way
  selfhosted.llm.smoke:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    instance: alice-chat
"""

RETURN = r"""
answers:
  description: The rows of the table; none in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    route:
      description: What was asked.
      type: str
    how:
      description: C(at once), C(streamed), or C(with a wrong key).
      type: str
    result:
      description: C(ok), C(refused), or what was wrong.
      type: str
    first_token:
      description: Time to the first token of a stream, else C(-).
      type: str
    tokens_per_second:
      description: Tokens per second, of a stream after the first, else C(-).
      type: str
"""
