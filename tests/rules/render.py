# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' rules as the role writes them by default."""

from __future__ import annotations

from pathlib import Path

import jinja2
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils import usage

ROLE = Path(__file__).parents[2] / "roles/monitoring"
RULES = sorted((ROLE / "templates/rules").glob("*.yml.j2"))


def rendered(path: Path) -> str:
    """A template of the role's rules, or of a test of them, with the role's defaults."""
    environment = jinja2.Environment(
        variable_start_string="[[", variable_end_string="]]", trim_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["bool"] = bool  # as Ansible has it
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    # What playbooks/usage.yml asks for an hour.
    asked = {column: usage.over(text, usage.Period(0, 3600)) for column, text in {"first": usage.FIRST, **usage.COLUMNS}.items()}
    pools = {column: usage.over(text, usage.Period(0, 3600)) for column, text in usage.POOLS.items()}
    return environment.from_string(path.read_text()).render(defaults | {"usage": asked, "usage_pools": pools})
