#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bench
short_description: Measure a deployment under load
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Lets more and more clients ask the running deployment for streamed chat completions of fixed lengths at once, through the cluster's API
    server. No two prompts begin alike, so that no cache of the engine helps.
  - With O(raw) it measures llama.cpp by itself, with a Job with C(llama-bench) in the server's place, on the same share of the GPU. The
    server is stopped before and brought back in any case; where this run is killed, the next deployment of it does that.
  - Adds a line of JSON to the history, and compares it with the last run of the same deployment that asked the same. A median is called
    a regression when it is worse by more than O(tolerance), and the middle half of the values overlaps with that of none of the last five.
  - In check mode it says what it would do.

extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
  - selfhosted.llm.deployment
options:
  concurrency:
    description: Numbers of clients at once. 1, 2, 4 and so on up to O(slots) where not given.
    type: list
    elements: int
    default: []
  slots:
    description: Requests that the deployment serves at once.
    type: int
    required: true
  requests:
    description: Requests of each client.
    type: int
    default: 4
  prompt_tokens:
    description: Length of each prompt in tokens, about.
    type: int
    default: 512
  answer_tokens:
    description: Length of each answer in tokens.
    type: int
    default: 128
  tolerance:
    description: Share by which a median may be worse than last time.
    type: float
    default: 0.1
  history:
    description: File with a line of JSON for each run.
    type: path
    required: true
  chart:
    description: Picture (SVG) of this run under load and the last one.
    type: path
  raw:
    description: Measure with C(llama-bench) in place of the server.
    type: bool
    default: false
  raw_image:
    description: Image with C(llama-bench).
    type: str
  timeout:
    description: How long C(llama-bench) may take, and the server to come back, in seconds.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Measure with 1, 2 and 4 clients at once
  selfhosted.llm.bench:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    instance: alice-chat
    slots: 4
    history: ~/.selfhosted-llm/bench/alice-chat.jsonl
    chart: ~/.selfhosted-llm/bench/alice-chat.svg
"""

RETURN = r"""
run:
  description: What was added to the history.
  returned: success, not in check mode
  type: dict
regressions:
  description: What is slower than last time, a sentence each.
  returned: success, not in check mode
  type: list
  elements: str
"""
