# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.plan_report; its documentation is in plugins/modules/plan_report.py."""

from __future__ import annotations

import json
import os
from collections import defaultdict

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils import report
from ansible_collections.selfhosted.llm.plugins.module_utils.files import now, write_atomically
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table

HOURS = 730  # of a month


class ActionModule(ActionBase):
    """Show a plan on the screen, as a page and as data."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(
            {"plan": {"type": "dict", "required": True}, "page": {"type": "path"}, "data": {"type": "path"}}
        )
        plan = _plan(args["plan"], {host: self._changes(task_vars, host) for host in args["plan"]["deployments"]})
        for line in (*table(report.rows(plan)), *report.notes(plan)):
            Display().display(line)
        for path, text in ((args["page"], report.page(plan)), (args["data"], json.dumps(plan, indent=1) + "\n")):
            if path:
                write_atomically(os.path.expanduser(path), text, 0o644)
        refused = [entry["name"] for engineer in plan["engineers"] for entry in engineer["deployments"] if entry["verdict"] == "no"]
        if refused:
            result |= {"failed": True, "msg": f"Not all deployments fit: {', '.join(refused)}. The lines above say what would."}
        return result | {"changed": False, "plan": plan}

    def _changes(self, task_vars: dict, host: str) -> list[str]:
        """What the check of a deployment would change."""
        return list(task_vars["hostvars"][host].get("llm_applied", {}).get("changes", ()))


def _plan(planned: dict, changes: dict[str, list[str]]) -> dict:
    """The plan in the shape that report describes; ``planned`` is the result of selfhosted.llm.plan."""
    engineers: dict[str, list[dict]] = defaultdict(list)
    for host, deployment in planned["deployments"].items():
        engineers[deployment["engineer"]].append(_entry(host, deployment, changes[host]))
    return {
        "made": now(),
        "platform": planned["platform"],
        "prices": True,
        "engineers": [{"name": name, "deployments": mine} | _sums(mine) for name, mine in sorted(engineers.items())],
        "cards": _cards(planned["deployments"]),
    }


def _entry(host: str, deployment: dict, changes: list[str]) -> dict:
    per_hour = deployment["slots"] * deployment["pool"]["eur_per_slot_hour"]
    return {
        "name": host,
        "engine": deployment["engine"],
        "model": f"{deployment['repo']}@{deployment['commit'][:7]}",
        "licence": deployment["licence"],
        "share": deployment["share"],
        "pool": deployment["pool"]["name"],
        **{key: deployment["fit"][key] for key in ("verdict", "message", "gpus", "proposals")},
        "tokens_per_second": deployment["tokens_per_second"] or None,
        "eur_per_hour": per_hour,
        "eur_per_month": per_hour * HOURS,
        "download_bytes": deployment["bytes"],
        "in_place": deployment["in_place"],
        "changes": changes,
    }


def _sums(deployments: list[dict]) -> dict[str, float]:
    return {key: sum(entry[key] for entry in deployments) for key in ("eur_per_hour", "eur_per_month")}


def _cards(deployments: dict[str, dict]) -> list[dict]:
    """The cards of the pools that the deployments want, filled in order: a prediction, as Kubernetes chooses."""
    cards: list[dict] = []
    for pool in {deployment["pool"]["name"]: deployment["pool"] for deployment in deployments.values()}.values():
        mine = [
            {"pool": pool["name"], "node": f"of {pool['instance_type']} {node + 1}", "card": card, "taken": []}
            | {"usable_mib": pool["slot_mib"] * pool["slots_per_gpu"], "slots": pool["slots_per_gpu"]}
            for node in range(pool["nodes"])
            for card in range(pool["gpus_per_node"])
        ]
        free = [(card, slot) for card in mine for slot in range(card["slots"])]
        for host, deployment in deployments.items():
            if deployment["pool"]["name"] != pool["name"]:
                continue
            sizes = [gpu["total_mib"] for gpu in deployment["fit"]["gpus"]] or [0] * deployment["slots"]
            for mib, (card, slot) in zip(sizes, free[: len(sizes)], strict=False):
                card["taken"].append({"deployment": host, "mib": mib, "slot": slot})
            free = free[len(sizes) :]
        cards += mine
    return cards
