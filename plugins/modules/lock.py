#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Write the models of all deployments, at their present commit, into their inventories
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Asks the hub for the commit that each deployment's revision names now, and for the files that its engine needs, and writes them
    with size and sha256 into C(lock.yml) in the directory of the inventory that has the deployment. That file is an inventory itself,
    to be reviewed like code.
  - A deployment in it installs exactly those files, wherever its revision moves, and needs the hub only to fetch them.
  - The hub knows the sha256 of large files; small ones are fetched for it.
  - Runs once for all hosts of the play. Under C(--limit) the entries of the others stay.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
attributes:
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Lock
  selfhosted.llm.lock:
  run_once: true
"""

RETURN = r"""
files:
  description: The lock files that changed.
  returned: success
  type: list
  elements: str
"""
