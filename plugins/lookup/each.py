# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: each
short_description: The value of a variable for each item of a list
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - What C(loop) is for tasks this is for values, so that a list of Kubernetes objects can be written as one of them.
options:
  _terms:
    description: The name of a variable that is written with C(item), and the list of the items.
    type: list
    elements: raw
    required: true
"""

EXAMPLES = r"""
- name: Show the paths of an Ingress
  ansible.builtin.debug:
    msg: "{{ query('selfhosted.llm.each', 'path', ['/v1/models', '/v1/chat/completions']) }}"
  vars:
    path:
      path: "{{ item }}"
      pathType: Exact
"""

RETURN = r"""
_raw:
  description: The variable's value for each item, in the order of the items.
  type: list
  elements: raw
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """The lookup selfhosted.llm.each."""

    def run(self, terms, variables=None, **kwargs):
        if len(terms) != 2 or not isinstance(terms[1], list):
            raise AnsibleLookupError("selfhosted.llm.each takes the name of a variable and a list.")
        name, items = terms
        if name not in variables:
            raise AnsibleLookupError(f"selfhosted.llm.each: there is no variable {name}.")
        return [
            self._templar.copy_with_new_env(available_variables=variables | {"item": item}).template(variables[name]) for item in items
        ]
