#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: usage
short_description: Say who used how many tokens and GPU hours, and what that costs
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Asks Prometheus for each engineer, deployment and model in a period for the tokens of prompts and answers, the requests where the
    engine counts them, the hours for which GPUs were held, and their price. Half a card for two hours is one GPU hour, used or not.
  - Runs once for all hosts of the play. With a host of the group C(sks_clusters) it asks the platform's Prometheus about everybody, and
    adds what of the pools nobody held. Else it asks for each engineer through their own kubeconfig, which shows their own part.
  - What is held is looked at each minute. Tokens between a pod's start and its first sample, and between its last sample and its end, are
    not seen; those of a pod with few samples are reckoned for up to half an interval more at both ends.
  - Prints a table. Writes nothing on the cluster; the files are written in check mode too.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
options:
  period:
    description: How long before O(until), as a number and V(m), V(h), V(d) or V(w).
    type: str
    default: 24h
  since:
    description: When the period begins, in UTC, instead of O(period).
    type: str
  until:
    description: When it ends, in UTC. Now where not given.
    type: str
  prometheus_namespace:
    description: Where the platform's Prometheus runs.
    type: str
    default: monitoring
  csv:
    description: File for the rows of the table.
    type: path
  json:
    description: File for all of it.
    type: path
"""

EXAMPLES = r"""
- name: Say who used what in November
  selfhosted.llm.usage:
    since: "2026-11-01"
    until: "2026-12-01"
    csv: ~/.selfhosted-llm/usage.csv
  run_once: true
"""

RETURN = r"""
usage:
  description:
    - The period, from when on samples exist, a row for each engineer, deployment, engine and model, and what nobody held.
    - A value is null where the engine does not count it.
  returned: success
  type: dict
"""
