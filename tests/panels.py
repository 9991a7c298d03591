# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards as Grafana would show them: their queries, with what is chosen put in, asked of a Prometheus."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME

SIDECAR = "grafana_dashboard=1"


class Query(NamedTuple):
    """One of a panel's.

    Attributes:
        dashboard: its title, and that of the panel.
        kind: timeseries, stat or table.
        legend: what Grafana writes beside a series, with labels in braces; the title of a table's values.
        expr: PromQL, with all variables put in.
    """

    dashboard: str
    panel: str
    kind: str
    unit: str
    legend: str
    expr: str


def dashboards(kube: Kube) -> dict[str, dict]:
    """The dashboards that Grafana's sidecar would find, by title."""
    found = kube.request("GET", BY_NAME["ConfigMap"].path(), query={"labelSelector": SIDECAR})["items"]
    return {made["title"]: made for item in found for made in map(json.loads, item["data"].values())}


class Grafana:
    """Asks as Grafana does.

    Args:
        connection: to Prometheus, or to a proxy before it.
        window: what ``$__rate_interval`` becomes, as a Prometheus duration.
    """

    def __init__(self, connection: socket.socket, window: str):
        self.client = http.client.HTTPConnection("prometheus")
        self.client.sock, self.window = connection, window

    def queries(self, dashboard: dict, **chosen: str) -> list[Query]:
        """All queries of a dashboard, with what is chosen in its lists (a regular expression for each), else all."""
        values = {"__rate_interval": self.window}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                every = variable.get("allValue") or f"({'|'.join(self.listed(_filled(variable['definition'], values)))})"
                values[variable["name"]] = chosen.get(variable["name"], every)
        return [
            Query(dashboard["title"], panel["title"], panel["type"], unit, target["legendFormat"], _filled(target["expr"], values))
            for panel in dashboard["panels"]
            for target in panel.get("targets", ())
            for unit in (panel["fieldConfig"]["defaults"]["unit"],)
        ]

    def listed(self, definition: str) -> list[str]:
        """The values that a list offers, which ``label_values(selector, label)`` defines."""
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", definition).groups()
        return self._get(f"/api/v1/label/{label}/values", {"match[]": selector})

    def now(self, expr: str) -> dict[str, float]:
        """The present value of each series that has one, by its labels as JSON."""
        found = self._get("/api/v1/query", {"query": expr})["result"]
        values = {json.dumps(entry["metric"], sort_keys=True): float(entry["value"][1]) for entry in found}
        return {labels: value for labels, value in values.items() if not math.isnan(value)}

    def over(self, expr: str, start: float, end: float, step: float) -> Iterator[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Each series between two Unix times: its labels, and its values with their times."""
        found = self._get("/api/v1/query_range", {"query": expr, "start": start, "end": end, "step": step})["result"]
        for entry in found:
            yield entry["metric"], [(float(time), float(value)) for time, value in entry["values"]]

    def _get(self, path: str, query: dict):
        self.client.request("GET", f"{path}?{urlencode(query)}")
        answer = json.loads(self.client.getresponse().read())
        assert answer["status"] == "success", f"{query}: {answer['error']}"
        return answer["data"]


def _filled(text: str, values: dict[str, str]) -> str:
    """PromQL with the values of Grafana's variables."""
    return re.sub(r"\$(\w+)", lambda name: values[name[1]], text)
