# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grafana's JSON of a dashboard, made of the few lines that are its own: the files in roles/monitoring/files/dashboards."""

from __future__ import annotations

import json
from collections.abc import Iterator

# What dashboards are filtered by: labels of every sample, from the widest to the narrowest; each list is of what the former ones leave.
FILTERS = {"engineer": "Engineer", "namespace": "Namespace", "model": "Model", "deployment": "Deployment"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# To the other dashboards, for the same time and choice.
LINK = {
    "type": "dashboards",
    "title": "selfhosted.llm",
    "tags": ["selfhosted.llm"],
    "icon": "external link",
    "tooltip": "",
    "asDropdown": True,
    "keepTime": True,
    "includeVars": True,
    "targetBlank": False,
}
COLUMNS, ROW_HEIGHT, PANEL_HEIGHT = 24, 1, 8  # of Grafana's grid
MOST = {"percent": 100, "percentunit": 1}


def grafana(name: str, described: dict) -> str:
    """The JSON of one dashboard.

    Args:
        name: of the file that describes it; part of its address in Grafana.
        described: its content. ``title``, ``description``; ``listed``, the metric whose labels fill the lists of the filters;
            ``hidden``, queries of further variables by name; ``rows``, each of a ``title`` and ``panels``. A panel has a ``title``,
            ``unit`` (Grafana's name of it), ``queries`` (PromQL by legend, where ``$selected`` stands for the matchers of all
            filters) and where need be ``description``, ``type`` (timeseries, stat, table; the legend of a table is the
            title of the column of values) and ``stacked``.
    """
    variables = [_datasource()]
    for place, label in enumerate(FILTERS):
        metric = f"{described['listed']}{{{_matchers(list(FILTERS)[:place])}}}" if place else described["listed"]
        variables.append(_variable(label, f"label_values({metric}, {label})", FILTERS[label]))
    variables += [_variable(label, _selected(query)) for label, query in described.get("hidden", {}).items()]
    content = {
        "uid": f"selfhosted-llm-{name}",
        "title": described["title"],
        "description": described["description"],
        "tags": ["selfhosted.llm"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "annotations": {"list": []},
        "links": [LINK],
        "templating": {"list": variables},
        "panels": list(_panels(described["rows"])),
    }
    return json.dumps(content, indent=1) + "\n"


def _datasource() -> dict:
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1}


def _variable(name: str, query: str, label: str | None = None) -> dict:
    """A list of values to choose from. Where it is shown, all of them is also what lacks the label."""
    return {
        "type": "query",
        "name": name,
        "hide": 0 if label else 2,
        "datasource": DATASOURCE,
        "query": query,
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    } | ({"label": label, "allValue": ".*"} if label else {})


def _panels(rows: list[dict]) -> Iterator[dict]:
    """Rows one under another, the panels of each side by side."""
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": ROW_HEIGHT},
        }
        y += ROW_HEIGHT
        width = COLUMNS // len(row["panels"])
        for place, panel in enumerate(row["panels"]):
            number += 1
            yield {"id": number, "gridPos": {"x": place * width, "y": y, "w": width, "h": PANEL_HEIGHT}} | _panel(panel)
        y += PANEL_HEIGHT


def _panel(panel: dict) -> dict:
    kind = panel.get("type", "timeseries")
    defaults = {"unit": panel["unit"], "min": 0} | ({"max": MOST[panel["unit"]]} if panel["unit"] in MOST else {})
    made = {
        "type": kind,
        "title": panel["title"],
        "description": panel.get("description", ""),
        "datasource": DATASOURCE,
        "targets": list(_targets(panel["queries"], kind == "table")),
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    if kind == "timeseries":
        stacking = {"mode": "normal" if panel.get("stacked") else "none", "group": "A"}
        defaults["custom"] = {"lineWidth": 2, "fillOpacity": 30 if panel.get("stacked") else 8, "showPoints": "never", "stacking": stacking}
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom", "calcs": [], "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "stat":
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        made["options"] = {"reduceOptions": last, "colorMode": "none", "graphMode": "none"}
    else:
        (column,) = panel["queries"]
        organized = {"excludeByName": {"Time": True}, "renameByName": {"Value": column}}
        made["transformations"] = [{"id": "organize", "options": organized}]
        made["options"] = {"showHeader": True, "cellHeight": "sm"}
    return made


def _targets(queries: dict[str, str], table: bool) -> Iterator[dict]:
    for place, (legend, query) in enumerate(queries.items()):
        target = {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": _selected(query), "legendFormat": legend}
        yield target | ({"format": "table", "instant": True, "range": False} if table else {"range": True})


def _selected(query: str) -> str:
    return query.replace("$selected", _matchers(FILTERS))


def _matchers(labels) -> str:
    """Those of PromQL that let through what is chosen of these labels."""
    return ",".join(f'{label}=~"${label}"' for label in labels)
