# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.usage; its documentation is in plugins/modules/usage.py."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils import usage
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.files import now, write_atomically
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.forward import open_socket, ready_pod
from ansible_collections.selfhosted.llm.plugins.module_utils.prometheus import NAMESPACE, PORT, Prometheus
from ansible_collections.selfhosted.llm.plugins.plugin_utils.fleet import engineers
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables

NOBODY = "(not held)"
TITLES = {"tokens_in": "tokens in", "tokens_out": "tokens out", "requests": "requests", "gpu_hours": "GPU hours", "eur": "EUR"}


class ActionModule(ActionBase):
    """Show who used what: everybody's to the platform's admin, each engineer's own to them."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True
    argument_spec = {
        "period": {"type": "str", "default": "24h"},
        "since": {"type": "str"},
        "until": {"type": "str"},
        "prometheus_namespace": {"type": "str", "default": NAMESPACE},
        "csv": {"type": "path"},
        "json": {"type": "path"},
    }

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(self.argument_spec)
        try:
            when = usage.period(args["period"], args["since"], args["until"], time.time())
            known = [_read(*source, when) for source in self._sources(task_vars, args["prometheus_namespace"])]
        except UserError as error:
            raise AnsibleActionFail(str(error)) from None
        rows = [row for one in known for row in one.rows]
        rest = [entry for entry in map(usage.not_held, known) if entry]
        firsts = [one.first for one in known if one.first]
        report = {
            "made": now(),
            "from": usage.said(when.begin),
            "to": usage.said(when.end),
            "known_from": usage.said(min(firsts)) if firsts else None,
            "rows": rows,
            "not_held": usage.total(rest) if rest else None,
        }
        for line in _lines(report, bool(firsts) and min(firsts) > when.begin + 120):
            Display().display(line)
        for path, text in ((args["csv"], _csv(report)), (args["json"], json.dumps(report, indent=1) + "\n")):
            if path:
                write_atomically(os.path.expanduser(path), text, 0o644)
        return result | {"changed": False, "usage": report}

    def _sources(self, task_vars: dict, namespace: str) -> Iterator[tuple[str, Kube, str, str]]:
        """Who asks, their cluster, and the namespace and name of the pod that answers them."""
        variables, hosts = Variables(self, task_vars), task_vars["ansible_play_hosts_all"]
        clusters = [host for host in hosts if "sks_clusters" in variables.raw(host)["group_names"]]
        for host in clusters:
            path = variables.evaluate(host, ["sks_gpu_nodes_kubeconfig"], ("sks_gpu_nodes",))["sks_gpu_nodes_kubeconfig"]
            kube = Kube(path)
            try:
                yield host, kube, namespace, ready_pod(kube, namespace, {"app.kubernetes.io/name": "prometheus"})
            except KubeError as error:
                raise UserError(
                    f"{host}: {error} Where Prometheus runs is monitoring_prometheus_namespace; playbooks/platform.yml makes one."
                ) from None
        if not clusters:
            for engineer in engineers(variables, hosts, may_be_missing=False):
                yield engineer.name, engineer.kube, NAMESPACE, f"prometheus-{engineer.name}-0"


def _read(who: str, kube: Kube, namespace: str, pod: str, when: usage.Period) -> usage.Usage:
    try:
        return usage.read(Prometheus(lambda: open_socket(kube, namespace, pod, PORT)), when)
    except UserError as error:
        raise UserError(
            f"{who}: Prometheus in {namespace}/{pod} cannot be asked: {str(error).rstrip('.')}. The platform's admin makes it, and the "
            "way of each engineer to it, with playbooks/platform.yml (monitoring_stack, monitoring_tenancy)."
        ) from None


def _lines(report: dict, late: bool) -> list[str]:
    """The report on the screen."""
    lines = [f"From {report['from']} to {report['to']}:"]
    if not report["known_from"]:
        return [*lines, "Prometheus knows of no deployment in that time."]
    if late:
        lines.append(f"Samples exist from {report['known_from']} on; of the time before nothing is known.")
    rows = [_row(row) for row in report["rows"]]
    for engineer in sorted({row["engineer"] for row in report["rows"]}):
        mine = [row for row in report["rows"] if row["engineer"] == engineer]
        if len(mine) > 1:
            rows.append(_row({"engineer": engineer, "deployment": "(all)"} | usage.total(mine)))
    if report["not_held"]:
        rows.append(_row({"engineer": NOBODY} | report["not_held"]))
    return [*lines, *table(rows)]


def _row(entry: dict) -> dict[str, str]:
    row = {name: entry.get(name) or "-" for name in usage.WHO}
    for column, title in TITLES.items():
        value = entry[column]
        row[title] = "-" if value is None else f"{value:.2f}" if column in usage.POOLS else f"{value}"
    return row


def _csv(report: dict) -> str:
    """The report for spreadsheets: a line for each row, and one for what nobody held."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*usage.WHO, *usage.COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(report["rows"])
    if report["not_held"]:
        writer.writerow({"engineer": NOBODY} | report["not_held"])
    return file.getvalue()
