# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.gpu_check; its documentation is in plugins/modules/gpu_check.py."""

from __future__ import annotations

import json
import os

from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import GPU
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_causes import diagnose, tell
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_evidence import NodeEvidence
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.files import now, write_atomically
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import vectoradd
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import delete_object
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.gpu_nodes import examine, holders
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table

DUE, BUSY, UNPROVED = "to be tested", "busy, not tested", "not tested"


class ActionModule(ClusterAction):
    """Prove each GPU node: it advertises its slots, and a pod computes on its card."""

    argument_spec = {
        "pools": {"type": "list", "elements": "dict", "required": True},
        "image": {"type": "str", "required": True},
        "command": {"type": "list", "elements": "str", "default": []},
        "only_untested": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 600},
        "data": {"type": "path"},
    }

    def execute(self, args: dict, host: str) -> dict:
        test = vectoradd.Vectoradd(args["image"], args["command"], args["timeout"])
        records = list(filter(None, map(pool_record, args["pools"])))
        with self.cluster(args) as kube:
            nodes = list(examine(kube, records)) if kube else []
            results = vectoradd.kept(kube, test, nodes) if nodes else {}
            rows = [_row(kube, evidence, results.get(evidence.name, {}), args["only_untested"]) for evidence in nodes]
            due = [(evidence, row) for evidence, row in zip(nodes, rows, strict=True) if row["test"] == DUE]
            if due and not self._task.check_mode:
                _test(kube, test, due, results, Progress(host, args["timeout"]))
        for row in rows:
            row |= {key: value for key, value in results.get(row["node"], {}).items() if key in ("time", "seconds", "words")}
        for line in _lines(rows):
            Display().display(line)
        if args["data"] and not self._task.check_mode:
            write_atomically(os.path.expanduser(args["data"]), json.dumps({"made": now(), "nodes": rows}, indent=1) + "\n", 0o644)
        if bad := [f"{row['node'] or row['pool']} ({row['cause']})" for row in rows if row["cause"]]:
            raise UserError(f"Not all GPU nodes are proved: {', '.join(bad)}. The lines above say why.")
        return {"changed": bool(due), "nodes": rows}


def _row(kube: Kube, evidence: NodeEvidence, former: dict, only_untested: bool) -> dict:
    """What is known of a node before it is tested."""
    row = {
        "node": evidence.name,
        "pool": evidence.pool["name"],
        "card": vectoradd.card(evidence),
        "slots": evidence.allocatable,
        "wanted": evidence.wanted,
        "test": DUE,
        "cause": "",
        "why": "",
    }
    if finding := diagnose(evidence):
        return row | {"test": UNPROVED, "cause": finding.cause.name, "why": tell([finding])}
    if only_untested and former.get("passed"):
        return row | {"test": "passed"}
    held = holders(kube, evidence.name)
    if sum(held.values()) >= evidence.allocatable:
        holding = ", ".join(f"{pod} ({slots})" for pod, slots in held.items())
        return row | {"test": BUSY, "why": f"All slots of node {evidence.name} are held: {holding}."}
    return row


def _test(kube: Kube, test: vectoradd.Vectoradd, due: list[tuple[NodeEvidence, dict]], results: dict[str, dict], report: Progress) -> None:
    """Test nodes side by side: write into their rows and the results, keep these, and remove the Jobs."""
    jobs = []
    try:
        for evidence, _row in due:
            jobs.append(test.start(kube, evidence))
        for (evidence, row), job in zip(due, jobs, strict=True):
            try:
                result = test.finish(kube, evidence, job, lambda text, elapsed, node=evidence.name: report(f"node {node}: {text}", elapsed))
            except vectoradd.Taken:
                row |= {"test": BUSY, "why": f"The last slot of node {evidence.name} was taken before the test began."}
                continue
            results[evidence.name] = result
            row["test"] = "passed"
            if not result["passed"]:
                row |= {"test": "failed", "cause": "vectoradd", "why": f"Node {evidence.name} does not compute: {result['words']}."}
        vectoradd.keep(kube, results)
    finally:
        for job in jobs:
            delete_object(kube, job, check_mode=False)


def _lines(rows: list[dict]) -> list[str]:
    """The table, and a line for each node that is not proved."""
    if not rows:
        return ["There is no GPU node to check."]
    columns = [
        {
            "node": row["node"] or "-",
            "pool": row["pool"],
            "card": row["card"] or "-",
            GPU: f"{row['slots']} of {row['wanted']}",
            "vectoradd": row["test"],
            "seconds": str(row.get("seconds", "-")),
            "last test": row.get("time", "-"),
        }
        for row in rows
    ]
    return [*table(columns), *(row["why"] for row in rows if row["why"])]
