#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan_report
short_description: Show a plan on the screen, as a page and as data
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Prints what a plan says of each deployment (fit, memory, speed bound, price, what would change), and writes it as one HTML
    file that needs nothing else, and as JSON.
  - Fails where a deployment does not fit, after all has been written.
  - What would change comes from a check of the role that deploys, registered as C(llm_applied) by it.
  - Runs once for all hosts of the play.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
options:
  plan:
    description: The result of M(selfhosted.llm.plan).
    type: dict
    required: true
  page:
    description: The HTML file to write.
    type: path
  data:
    description: The JSON file to write.
    type: path
"""

EXAMPLES = r"""
- name: Report
  selfhosted.llm.plan_report:
    plan: "{{ llm_plan }}"
    page: ~/plan.html
  run_once: true
"""

RETURN = r"""
plan:
  description: The plan as written to O(data).
  returned: always
  type: dict
"""
