# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's dashboards against what is measured; tests/e2e shows that their panels have data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.dashboard import grafana
from tests.metrics import wrong

ROLE = Path(__file__).resolve().parents[4] / "roles/monitoring"
FILES = sorted((ROLE / "files/dashboards").glob("*.yml"))


def made(path: Path) -> dict:
    return json.loads(grafana(path.stem, yaml.safe_load(path.read_text())))


def expressions(dashboard: dict) -> list[str]:
    """The PromQL of all panels, and the selectors that fill the lists."""
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    lists = [variable["definition"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    return panels + [re.fullmatch(r"label_values\((.+), \w+\)", definition)[1] for definition in lists]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_all_that_a_dashboard_shows_is_measured(path):
    assert {expr: wrong(expr) for expr in expressions(made(path)) if wrong(expr)} == {}


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("max(llamacpp:kv_cache_tokens)", "llamacpp:kv_cache_tokens is measured by nobody"),
        ('avg(llamacpp:kv_cache_usage_ratio{pod="a"})', "llamacpp:kv_cache_usage_ratio is measured by nobody"),
        ("sum(increase(llamacpp:requests_processing[1h]))", "increase() of llamacpp:requests_processing, which is no counter"),
        ("rate(vllm:num_requests_running[$__rate_interval])", "rate() of vllm:num_requests_running, which is no counter"),
        ("tgi_queue_size_bucket + DCGM_FI_NO_FIELD", "DCGM_FI_NO_FIELD is measured by nobody"),
    ],
)
def test_what_is_not_measured_is_found_in_a_dashboard(expr, said):
    described = yaml.safe_load(FILES[0].read_text())
    described["rows"][0]["panels"][0]["queries"] = {"planted": expr}
    assert said in [sentence for expr in expressions(json.loads(grafana("planted", described))) for sentence in wrong(expr)]


def test_the_list_of_dashboards_is_that_of_the_files():
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    assert defaults["monitoring_dashboards"] == options["monitoring_dashboards"]["choices"] == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_has_room_in_a_configmap(path):
    assert len(grafana(path.stem, yaml.safe_load(path.read_text()))) < 2**20
