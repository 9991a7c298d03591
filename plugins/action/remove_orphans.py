# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.remove_orphans; its documentation is in plugins/modules/remove_orphans.py."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import delete_object, diff
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import OWNED
from ansible_collections.selfhosted.llm.plugins.plugin_utils.fleet import Engineer, engineers
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables

VOLUME = "PersistentVolumeClaim"


class ActionModule(ActionBase):
    """Remove what the deployments that left the inventory own; volumes only by name."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(
            {"orphans": {"type": "bool", "default": False}, "volumes": {"type": "list", "elements": "str", "default": []}}
        )
        if task_vars.get("ansible_limit"):
            raise AnsibleActionFail("Orphans and volumes are not removed under --limit, which hides deployments: run without it.")
        volumes, changes = set(args["volumes"]), []
        hosts = [host for host in task_vars["groups"]["all"] if host not in task_vars["groups"].get("sks_clusters", ())]
        try:
            for engineer in engineers(Variables(self, task_vars), hosts, may_be_missing=self._task.check_mode):
                unwanted = _unwanted(engineer, args["orphans"], volumes)
                changes += [delete_object(engineer.kube, obj, self._task.check_mode) for obj in unwanted]
        except UserError as error:
            raise AnsibleActionFail(f"{error} Removed before this: {', '.join(map(str, changes)) or 'nothing'}.") from None
        if unknown := volumes - {change.name for change in changes if change.kind == VOLUME}:
            raise AnsibleActionFail(
                f"llm_remove_volumes names {', '.join(sorted(unknown))}, which is no volume without a deployment in the inventory. "
                f"Removed: {', '.join(map(str, changes)) or 'nothing'}."
            )
        result |= {"changed": bool(changes), "changes": list(map(str, changes))}
        if self._task.diff:
            result["diff"] = list(map(diff, changes))
        return result


def _unwanted(engineer: Engineer, orphans: bool, volumes: set[str]) -> list[dict]:
    """Orphaned objects that may go, in the order of their removal: the other way round from applying."""
    engineer = engineer._replace(hosts=[*engineer.hosts, *engineer.claims()])  # a shared cache is called by its volume
    kinds = [kind.name for kind in reversed(OWNED) if kind.name == VOLUME or orphans]
    return [
        obj
        for obj in engineer.live(*kinds)
        if engineer.is_orphan(obj) and (obj["kind"] != VOLUME or obj["metadata"]["name"] in volumes)
    ]
