#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llm_doctor
short_description: Say of each deployment why it does not answer
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Names for each deployment of the play one cause of a closed list (docs/doctor.md), with the line, event or number that proves it
    and the variable to change, or that it is healthy. Prints this, and writes it as JSON.
  - Reads the cluster with the engineer's own kubeconfig, and asks the endpoint of what is up for nothing, with the key of its Secret.
    Changes nothing there.
  - Fails where a deployment is not well, after all has been written. One that sleeps, or has no replicas, is well.
  - Runs once for all hosts of the play.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
options:
  data:
    description: The JSON file to write.
    type: path
"""

EXAMPLES = r"""
- name: Examine
  selfhosted.llm.llm_doctor:
    data: ~/doctor.json
  run_once: true
"""

RETURN = r"""
deployments:
  description: What was found, as written to O(data).
  returned: success
  type: list
  elements: dict
  contains:
    deployment:
      description: The deployment.
      type: str
    engineer:
      description: The engineer's name.
      type: str
    cause:
      description: The cause, by its name in the list.
      type: str
    well:
      description: Whether nothing needs to be done.
      type: bool
    means:
      description: The cause as a sentence.
      type: str
    evidence:
      description: What proves it.
      type: str
    change:
      description: The variable to change; empty where none helps.
      type: str
    cure:
      description: What to do.
      type: str
"""
