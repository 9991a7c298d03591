# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: engineer_rules
short_description: RBAC rules of an engineer in their own namespace
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - The rules come from the same table as the kinds that a deployment may own, so that an engineer may write exactly these.
options:
  _terms:
    description: None are taken.
"""

EXAMPLES = r"""
- name: Show what an engineer may do
  ansible.builtin.debug:
    msg: "{{ query('selfhosted.llm.engineer_rules') }}"
"""

RETURN = r"""
_raw:
  description: Entries for C(rules) of a Role.
  type: list
  elements: dict
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import engineer_rules


class LookupModule(LookupBase):
    """The lookup selfhosted.llm.engineer_rules."""

    def run(self, terms, variables=None, **kwargs):
        return engineer_rules()
