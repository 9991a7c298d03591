# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as Prometheus and an operator get them, and the exporter that they rely on."""

from __future__ import annotations

import pytest
import yaml

from tests import metrics
from tests.rules.render import RULES, rendered


@pytest.fixture(scope="module")
def own(check):
    """The platform's objects, with settings that rules show."""
    return check({}, {"monitoring_alert_idle": "3h", "nvidia_utilities_dcgm_exporter": "false"}).objects["llm-frankfurt"]


@pytest.fixture(scope="module")
def operator(check):
    return check({}, {"monitoring_stack": "operator"}).objects["llm-frankfurt"]


def alerts(text: str) -> dict[str, dict]:
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule}


def test_an_operator_gets_just_the_rules_that_promtool_tests(operator):
    groups = operator.one("PrometheusRule")["spec"]["groups"]
    tested = [group for path in RULES for group in yaml.safe_load(rendered(path))["groups"]]
    assert sorted(groups, key=lambda group: group["name"]) == sorted(tested, key=lambda group: group["name"])


def test_rules_follow_the_inventory(own):
    shown = alerts(own.one("ConfigMap", "prometheus-rules")["data"]["alerts.yml"])
    assert shown["LLMGPUIdle"]["for"] == "3h" and "for 3h" in shown["LLMGPUIdle"]["annotations"]["description"]
    # Where no exporter is wanted, none is missed.
    everything = {rule["alert"] for rule in metrics.rules() if "alert" in rule}
    assert everything - shown.keys() == {"LLMGPUMetricsMissing"}


def test_the_exporter_may_list_what_it_reads_and_nothing_else(own):
    rules = own.one("ClusterRole", "selfhosted-llm-state")["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list"}
    allowed = {resource for rule in rules for resource in rule["resources"]}
    read = {path.partition("?")[0].rpartition("/")[2] for name, path in metrics.state().PATHS.items() if name != "platform"}
    assert allowed == read
    (entry,) = own.one("NetworkPolicy", "state")["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"] for peer in entry["from"]] == [{"app.kubernetes.io/name": "prometheus"}]
    pod = own.one("Deployment", "state")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    assert own.one("ConfigMap", "state")["data"]["state.py"].strip() == metrics.STATE.read_text().strip()
