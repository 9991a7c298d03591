# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' rules rely on nothing but what somebody is known to serve. promtool tests them in tests/rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import metrics
from tests.promql import unknown

REPOSITORY = Path(__file__).parents[4]
RULES = metrics.rules()


@pytest.fixture(scope="module")
def known() -> set[str]:
    return metrics.known()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_is_served(rule, known):
    assert not unknown(rule["expr"], known)


@pytest.mark.parametrize("gone", ["llamacpp:kv_cache_usage_ratio", "llamacpp:kv_cache_tokens"])
def test_metrics_that_are_no_more_are_found(gone, known):
    assert unknown(f"max by (deployment) ({gone}) > 0.9 and up == 1", known) == {gone}


def test_every_recorded_metric_has_the_labels_that_dashboards_choose_by():
    who = "engineer, namespace, deployment, engine, model"
    for rule in RULES:
        if rule.get("record", "").startswith("llm:") and "pool" not in rule["record"]:
            assert f"by ({who}" in rule["expr"] or "llm:gpu_slots:held" in rule["expr"]


@pytest.mark.parametrize("alert", [rule for rule in RULES if "alert" in rule], ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_run(alert):
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert {*alert["annotations"]} == {"summary", "description", "runbook"}
    named = re.findall(r"playbooks/\w+\.yml", alert["annotations"]["runbook"])
    assert named
    for playbook in named:
        assert (REPOSITORY / playbook).exists(), playbook


def test_the_page_lists_just_these_alerts():
    page = (REPOSITORY / "docs/monitoring.md").read_text()
    assert re.findall(r"^\| `(LLM\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in RULES if "alert" in rule]
