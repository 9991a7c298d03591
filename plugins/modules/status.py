#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Print the table of deployments
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Prints a line for each deployment of the play, with its endpoint, state, and the answer recorded when it came up, and names
    deployments that left the inventory. Runs once for all hosts of the play. Writes nothing.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
"""

EXAMPLES = r"""
- name: Table of deployments
  selfhosted.llm.status:
  run_once: true
"""

RETURN = r"""
deployments:
  description: The rows of the table.
  returned: success
  type: list
  elements: dict
orphans:
  description: Names of deployments on the cluster that are not in the inventory.
  returned: success
  type: list
  elements: str
"""
