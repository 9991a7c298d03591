# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is checked of all selected deployments together before anything else: their inventories and variables."""

from __future__ import annotations

import difflib
import os

from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.selfhosted.llm.plugins.module_utils import inventory_rules
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables

# Registered by deploy.yml and the role llm; every other llm_ variable is in an argument spec.
OWN_VARIABLES = {"llm_plan", "llm_applied"}
# Where the inventory does not say them, these come from the model's files, which are only known after the plan.
FROM_THE_FILES = {"llm_volume_size", "llm_startup_seconds"}
LOCK = "lock.yml"


class Preflight(ActionBase):
    """An action that runs once for all hosts of a play.

    Attributes:
        problems: what is wrong so far, a sentence each; stop_on_problems reports them all.
        variables: of all hosts.
    """

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def checked_values(self, task_vars: dict) -> dict[str, dict]:
        """The validated variables of the play's hosts, and their ``engine`` and ``engineer``, by host."""
        self._task_vars = task_vars
        self.variables = Variables(self, task_vars)
        self.problems: list[str] = []
        self.problems += inventory_rules.problems(self.sources(), self._merged_groups()) + self._unread_locks()
        self.stop_on_problems()
        values = {host: self._values(host) for host in task_vars["ansible_play_hosts"]}
        self.stop_on_problems()
        return values

    def stop_on_problems(self) -> None:
        """Fail with all problems found so far, if there are any."""
        if self.problems:
            raise AnsibleActionFail("Nothing was written. " + " ".join(dict.fromkeys(self.problems)))

    def sources(self) -> list[inventory_rules.Source]:
        """Each inventory source read by itself, as Ansible's merged view no longer tells them apart."""
        sources = []
        for path in self._task_vars["ansible_inventory_sources"]:
            if not os.path.exists(path):  # a host list such as "localhost,"
                continue
            inventory = InventoryManager(self._loader, [path])
            groups = {name: [host.name for host in group.get_hosts()] for name, group in inventory.groups.items()}
            variables = {
                name: dict.fromkeys(inventory.groups[name].vars, path) | self._group_vars_files(path, name)
                for name in ("all", *inventory_rules.ENGINES)
                if name in inventory.groups
            }
            sources.append(inventory_rules.Source(path, groups, variables))
        return sources

    def _unread_locks(self) -> list[str]:
        """A file given with -i is read without the lock beside it."""
        given = self._task_vars["ansible_inventory_sources"]
        locks = [(path, os.path.join(os.path.dirname(path), LOCK)) for path in given if os.path.isfile(path)]
        return [
            f"{lock} is not read with -i {path}: give the directory, -i {os.path.dirname(path)}."
            for path, lock in locks
            if os.path.exists(lock) and lock not in given
        ]

    def _group_vars_files(self, source: str, group: str) -> dict[str, str]:
        """The file that sets each variable of a group in a source's group_vars."""
        directory = source if os.path.isdir(source) else os.path.dirname(source)
        files = map(os.fsdecode, self._loader.find_vars_files(os.path.join(directory, "group_vars"), group))
        return {name: file for file in files for name in self._loader.load_from_file(file) or {}}

    def _merged_groups(self) -> dict[str, list[str]]:
        return {host: self.variables.raw(host)["group_names"] for host in self._task_vars["groups"]["all"]}

    def _values(self, host: str) -> dict:
        """The templated variables of one host, checked against the argument specs of its roles."""
        raw, engine = self.variables.raw(host), self.variables.engine(host)
        roles = ("llm", engine)
        spec = self.variables.spec("llm") | self.variables.spec(engine)
        try:
            names = [name for name in spec if name not in FROM_THE_FILES or name in raw]
            values = self.variables.evaluate(host, names, roles)
        except ValueError as error:
            self.problems.append(f"{host}: {error}")
            return {}
        validated = ArgumentSpecValidator(spec).validate(values)
        self.problems += [f"{host}: {error}." for error in validated.error_messages]
        for name in raw:
            if name.startswith(tuple(f"{role}_" for role in roles)) and name not in spec and name not in OWN_VARIABLES:
                near = difflib.get_close_matches(name, spec, 1)
                self.problems.append(f"{host}: there is no variable {name}" + (f"; did you mean {near[0]}?" if near else "."))
        return validated.validated_parameters | {"engine": engine, "engineer": self.variables.engineer(host)}
