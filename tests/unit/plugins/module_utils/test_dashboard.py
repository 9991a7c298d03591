# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of a dashboard's few lines."""

from __future__ import annotations

import json

from ansible_collections.selfhosted.llm.plugins.module_utils.dashboard import grafana

SELECTED = 'engineer=~"$engineer",namespace=~"$namespace",model=~"$model",deployment=~"$deployment"'
DESCRIBED = {
    "title": "Sample",
    "description": "A sample.",
    "listed": "up",
    "hidden": {"pod": "label_values(held{$selected}, pod)"},
    "rows": [
        {
            "title": "First",
            "panels": [
                {"title": "Line", "unit": "percentunit", "queries": {"{{pod}} a": "a{$selected}", "{{pod}} b": "b{$selected}"}},
                {"title": "Figure", "type": "stat", "unit": "short", "queries": {"": "c"}},
            ],
        },
        {"title": "Second", "panels": [{"title": "Table", "type": "table", "unit": "s", "queries": {"left": "d - time()"}}]},
    ],
}


def made() -> dict:
    return json.loads(grafana("sample", DESCRIBED))


def test_panels_stand_side_by_side_in_rows_one_under_another():
    places = [(panel["title"], *(panel["gridPos"][key] for key in "xywh")) for panel in made()["panels"]]
    assert places == [
        ("First", 0, 0, 24, 1),
        ("Line", 0, 1, 12, 8),
        ("Figure", 12, 1, 12, 8),
        ("Second", 0, 9, 24, 1),
        ("Table", 0, 10, 24, 8),
    ]
    numbers = [panel["id"] for panel in made()["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_queries_let_through_what_is_selected():
    line = made()["panels"][1]
    assert [(target["refId"], target["expr"], target["legendFormat"]) for target in line["targets"]] == [
        ("A", f"a{{{SELECTED}}}", "{{pod}} a"),
        ("B", f"b{{{SELECTED}}}", "{{pod}} b"),
    ]
    assert line["fieldConfig"]["defaults"]["max"] == 1


def test_a_list_has_what_the_lists_before_it_leave():
    lists = {variable["name"]: variable for variable in made()["templating"]["list"]}
    assert list(lists) == ["datasource", "engineer", "namespace", "model", "deployment", "pod"]
    assert lists["engineer"]["definition"] == "label_values(up, engineer)"
    assert lists["model"]["definition"] == 'label_values(up{engineer=~"$engineer",namespace=~"$namespace"}, model)'
    assert all(lists[name]["multi"] and lists[name]["allValue"] == ".*" and not lists[name]["hide"] for name in list(lists)[1:-1])
    # All pods are those that are left, and no others.
    assert lists["pod"]["definition"] == f"label_values(held{{{SELECTED}}}, pod)"
    assert lists["pod"]["hide"] and "allValue" not in lists["pod"]


def test_a_table_has_a_column_of_its_legend():
    table = made()["panels"][-1]
    assert [(target["format"], target["instant"]) for target in table["targets"]] == [("table", True)]
    assert table["transformations"][0]["options"]["renameByName"] == {"Value": "left"}


def test_all_that_reads_data_reads_it_from_the_chosen_prometheus():
    dashboard = made()
    readers = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    readers += [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    readers += [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert {reader["datasource"]["uid"] for reader in readers} == {"${datasource}"}
