# SPDX-License-Identifier: GPL-3.0-or-later
"""How usage is shown."""

from __future__ import annotations

import csv
import io

from ansible_collections.selfhosted.llm.plugins.action import usage as action


def row(engineer: str, deployment: str, **values: float) -> dict:
    labels = {"engineer": engineer, "deployment": deployment, "engine": "llama-cpp", "model": "m@1"}
    return labels | {"tokens_in": 1000, "tokens_out": 20, "requests": None, "gpu_hours": 1.5, "eur": 0.784} | values


REPORT = {
    "made": "2026-11-30T00:00:00Z",
    "from": "2026-11-29T00:00:00Z",
    "to": "2026-11-30T00:00:00Z",
    "known_from": "2026-11-29T12:00:00Z",
    "rows": [row("alice", "alice-a"), row("alice", "alice-b"), row("bob", "bob-chat", requests=7)],
    "not_held": {"tokens_in": None, "tokens_out": None, "requests": None, "gpu_hours": 43.5, "eur": 22.7},
}


def test_the_table_ends_with_sums_and_with_what_nobody_held():
    lines = action._lines(REPORT, late=True)
    assert lines[:2] == [
        "From 2026-11-29T00:00:00Z to 2026-11-30T00:00:00Z:",
        "Samples exist from 2026-11-29T12:00:00Z on; of the time before nothing is known.",
    ]
    assert [line.split() for line in lines[3:]] == [
        ["alice", "alice-a", "llama-cpp", "m@1", "1000", "20", "-", "1.50", "0.78"],
        ["alice", "alice-b", "llama-cpp", "m@1", "1000", "20", "-", "1.50", "0.78"],
        ["bob", "bob-chat", "llama-cpp", "m@1", "1000", "20", "7", "1.50", "0.78"],
        ["alice", "(all)", "-", "-", "2000", "40", "-", "3.00", "1.57"],
        ["(not", "held)", "-", "-", "-", "-", "-", "-", "43.50", "22.70"],
    ]


def test_where_nothing_is_known_that_is_said():
    assert action._lines(REPORT | {"known_from": None, "rows": [], "not_held": None}, late=False)[1:] == [
        "Prometheus knows of no deployment in that time."
    ]


def test_spreadsheets_get_every_row_and_nothing_for_what_is_not_counted():
    lines = list(csv.DictReader(io.StringIO(action._csv(REPORT))))
    assert [line["engineer"] for line in lines] == ["alice", "alice", "bob", "(not held)"]
    assert [line["requests"] for line in lines] == ["", "", "7", ""]
    assert lines[-1]["eur"] == "22.7"
