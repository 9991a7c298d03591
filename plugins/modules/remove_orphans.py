#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: remove_orphans
short_description: Remove what deployments left behind that are no longer in the inventory
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Looks at the objects that carry the labels of the engineers in the inventory, and removes those whose deployment is not in it.
  - Refuses to run under C(--limit). Runs once for all hosts of the play.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
attributes:
  diff_mode:
    support: full
options:
  orphans:
    description: Remove orphaned objects, volume claims excepted.
    type: bool
    default: false
  volumes:
    description: Names of orphaned volume claims to delete, weights and all.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Remove deployments that left the inventory, and one old volume
  selfhosted.llm.remove_orphans:
    orphans: true
    volumes: [alice-old]
  run_once: true
"""

RETURN = r"""
changes:
  description: What was removed, or would be, a line for each object.
  returned: success
  type: list
  elements: str
"""
