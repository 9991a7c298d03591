# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/usage.yml counts of a real llama-server, and who sees it."""

from __future__ import annotations

import csv
import json
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.running import Running

from .conftest import SANDBOX

HOST, ALICE = "alice-chat", ("inventories/alice",)
SCRAPE = 5  # seconds, in the sandbox


@pytest.fixture
def usage(run, tmp_path):
    """Run the playbook; returns the run and what it told."""

    def usage(*inventories, period: str = "1h") -> tuple:
        files = {"monitoring_usage_csv": f"{tmp_path}/usage.csv", "monitoring_usage_json": f"{tmp_path}/usage.json"}
        result = run("playbooks/usage.yml", *inventories, SANDBOX, extra=("-e", json.dumps(files | {"monitoring_usage_period": period})))
        return result, result.results[-1][2].get("usage")

    return usage


def test_tokens_asked_are_tokens_counted(usage, kubeconfigs, objects, tmp_path):
    def row(told: dict) -> dict:
        return next(row for row in told["rows"] if row["deployment"] == HOST)

    time.sleep(3 * SCRAPE)  # what was asked before is counted by then
    before = row(usage(*ALICE)[1])
    endpoint = Running(Kube(str(kubeconfigs / "alice.yml")), "llm-alice", HOST).endpoint()
    answers = [endpoint.chat(f"Count to a hundred, beginning with {number}.", 48) for number in range(8)]
    time.sleep(3 * SCRAPE)
    owned = objects("llm-alice")
    result, after = usage(*ALICE)
    assert result.status == 0 and not result.changed
    assert objects("llm-alice") == owned
    counted = row(after)
    # Prometheus reckons for half an interval beyond the pod's first and last sample.
    asked = {"tokens_in": sum(answer.prompt_tokens for answer in answers), "tokens_out": sum(answer.tokens for answer in answers)}
    for column, number in asked.items():
        assert counted[column] - (before[column] or 0) == pytest.approx(number, rel=0.1), (counted, before, asked)
    assert counted["requests"] is None  # llama.cpp counts none
    assert counted["eur"] == pytest.approx(counted["gpu_hours"] * 2 * 0.5227, abs=1e-3)  # half a card
    assert {row["engineer"] for row in after["rows"]} == {"alice"} and after["not_held"] is None
    assert json.loads((tmp_path / "usage.json").read_text()) == after
    with open(tmp_path / "usage.csv", encoding="utf-8") as file:
        assert [line["deployment"] for line in csv.DictReader(file)] == [row["deployment"] for row in after["rows"]]


def test_the_admin_sees_everybody_and_what_nobody_held(usage):
    result, told = usage("inventories/platform", *ALICE, period="30d")
    assert result.status == 0 and not result.changed, result.message
    assert {row["engineer"] for row in told["rows"]} >= {"alice", "bob"}
    assert told["not_held"]["eur"] >= 0
    assert f"Samples exist from {told['known_from']} on" in result.text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"monitoring_usage_period": "a day"}, "monitoring_usage_period is a day"),
        ({"monitoring_usage_since": "yesterday"}, "monitoring_usage_since is yesterday"),
        ({"monitoring_prometheus_namespace": "default"}, "Where Prometheus runs is monitoring_prometheus_namespace"),
    ],
)
def test_what_cannot_be_told_is_a_sentence(run, variables, said):
    result = run("playbooks/usage.yml", "inventories/platform", SANDBOX, extra=("-e", json.dumps(variables)))
    assert result.status and said in result.message and "Traceback" not in result.text

