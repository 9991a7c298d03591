# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dashboard
short_description: Grafana's JSON of a dashboard
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Makes the JSON that Grafana reads of the few lines that are a dashboard's own, its panels with their queries.
  - Lists to choose engineers, namespaces, models and deployments by, the source of data, and the places of the panels are added.
options:
  _input:
    description:
      - C(title), C(description), C(listed) (the metric whose labels fill the lists) and C(rows), each of C(title) and C(panels).
      - A panel has C(title), C(unit), C(queries) (PromQL by legend; C($selected) stands for what is chosen), and where need be
        C(description), C(type) (V(timeseries), V(stat) or V(table)) and C(stacked).
      - C(hidden) has queries of variables that are not shown, by name.
    type: dict
    required: true
  name:
    description: What tells the dashboard from others in its address in Grafana.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write a dashboard to import by hand
  ansible.builtin.copy:
    dest: fleet.json
    content: "{{ lookup('ansible.builtin.file', 'dashboards/fleet.yml') | from_yaml | selfhosted.llm.dashboard('fleet') }}"
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The dashboard as JSON of Grafana's schema 39, which Grafana 10.4 and later read.
  type: str
"""

from ansible_collections.selfhosted.llm.plugins.module_utils.dashboard import grafana


def dashboard(described: dict, name: str) -> str:
    """Grafana's JSON of a dashboard."""
    return grafana(name, described)


class FilterModule:
    """The filter selfhosted.llm.dashboard."""

    def filters(self):
        return {"dashboard": dashboard}
