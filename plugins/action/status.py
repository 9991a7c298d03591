# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.status; its documentation is in plugins/modules/status.py."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import gate, ready
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import MODEL, SHARE
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import read_record
from ansible_collections.selfhosted.llm.plugins.plugin_utils.fleet import Engineer, engineers
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables

COLUMNS = ("deployment", "engineer", "model", "engine", "gpu", "endpoint", "state", "first answer", "tokens/s")


class ActionModule(ActionBase):
    """Print the table of deployments; reads the cluster only, one request for each engineer."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        hosts = task_vars["ansible_play_hosts_all"]
        try:
            fleet = engineers(Variables(self, task_vars), hosts, may_be_missing=self._task.check_mode)
            rows, orphans = [], []
            for engineer in fleet:
                live = {obj["metadata"]["name"]: obj for obj in engineer.live("Deployment")}
                record = read_record(engineer.kube) if engineer.kube else None
                asleep = record.asleep if record else ""
                rows += [_row(engineer, host, live.get(host), asleep) for host in engineer.hosts]
                everyone = engineer._replace(hosts=task_vars["groups"][f"engineer_{engineer.name}"])
                orphans += sorted(name for name, obj in live.items() if everyone.is_orphan(obj))
        except UserError as error:
            raise AnsibleActionFail(str(error)) from None
        for line in table(rows):
            Display().display(line)
        if orphans:
            Display().display(
                f"Not in the inventory, but on the cluster: {', '.join(orphans)}. Remove with -e llm_remove_orphans=true."
            )
        return result | {"changed": False, "deployments": rows, "orphans": orphans}


def _row(engineer: Engineer, host: str, live: dict | None, asleep: str) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "-") | {"deployment": host, "engineer": engineer.name}
    if live is None:
        return row | {"state": "absent"}
    metadata, answer = live["metadata"], gate.recorded(live)
    annotations = metadata.get("annotations", {})
    return row | {
        "model": annotations.get(MODEL, "-"),
        "engine": metadata["labels"].get("app.kubernetes.io/name", "-"),
        "gpu": annotations.get(SHARE, "-"),
        "endpoint": f"http://{host}.{engineer.namespace}/v1",
        "state": _state(engineer, live, asleep),
        "first answer": f"{answer['seconds']} s" if answer else "not asked",
        "tokens/s": str(answer["tokens_per_second"]) if answer else "-",
    }


def _state(engineer: Engineer, live: dict, asleep: str) -> str:
    if not live["spec"]["replicas"]:
        return "stopped"
    state = ready.state(engineer.kube, live)
    return f"asleep since {asleep}" if asleep and not state.done else state.text
