# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of inventory hosts as their roles would see them, for actions that look at all hosts at once.

Ansible's hostvars leave out role defaults; these functions put them underneath.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.selfhosted.llm.plugins.module_utils import inventory_rules

_ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles")


class Variables:
    """The variables of all hosts of a run.

    Args:
        action: the running action plugin.
        task_vars: its task's variables.
    """

    def __init__(self, action: ActionBase, task_vars: dict):
        self._loader = action._loader
        self._templar = action._templar
        self._hostvars = task_vars["hostvars"]
        # Each file is read once for all hosts.
        self.spec = functools.cache(self._spec)
        self._defaults = functools.cache(self._read_defaults)

    def raw(self, host: str) -> dict:
        """The inventory's variables of a host, not templated."""
        return self._hostvars.raw_get(host)

    def engine(self, host: str) -> str | None:
        return inventory_rules.engine_of(self.raw(host)["group_names"])

    def engineer(self, host: str) -> str | None:
        return inventory_rules.engineer_of(self.raw(host)["group_names"])

    def _spec(self, role: str) -> dict[str, dict]:
        """The options of a role's argument spec by name."""
        return self._loader.load_from_file(f"{_ROLES}/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]

    def _read_defaults(self, role: str) -> dict:
        return self._loader.load_from_file(f"{_ROLES}/{role}/defaults/main.yml", trusted_as_template=True)

    def evaluate(self, host: str, names: list[str], roles: tuple[str, ...]) -> dict[str, Any]:
        """Template some variables of a host over the defaults of some roles; those set nowhere are left out.

        Raises:
            ValueError: with the variable's name, where one cannot be templated.
        """
        available = {}
        for role in roles:
            available |= self._defaults(role)
        available |= self.raw(host)
        templar = self._templar.copy_with_new_env(available_variables=available)
        values = {}
        for name in names:
            if name in available:
                try:
                    values[name] = templar.template(available[name])
                except Exception as error:  # whatever a template may raise is the user's to see as a sentence
                    raise ValueError(f"{name} cannot be evaluated: {error}") from None
        return values
