# SPDX-License-Identifier: GPL-3.0-or-later
"""All metrics that rules and dashboards may use, and of which there are rates: what somebody serves, and what the rules make of it."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils import dcgm
from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from tests import promql
from tests.rules.render import RULES, rendered

STATE = Path(__file__).parents[1] / "roles/monitoring/files/state.py"
# Counters have names of this form, and TGI's some others.
COUNTER = re.compile(r"[\w:]+[_:](total|count|sum|bucket)|tgi_\w+_(success|failure)")
RATED = re.compile(r"\b(rate|irate|increase)\s*\(\s*([a-zA-Z_:][\w:]*)")
# Of Prometheus itself, and of the kubelet (Kubernetes v1.34.4: pkg/kubelet/metrics/collectors/volume_stats.go).
OTHERS = {"up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}


def state() -> ModuleType:
    """The program of the state exporter, as a module."""
    spec = importlib.util.spec_from_file_location("state", STATE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rules() -> list[dict]:
    """All rules as the role writes them by default."""
    return [rule for path in RULES for group in yaml.safe_load(rendered(path))["groups"] for rule in group["rules"]]


@cache
def known() -> frozenset[str]:
    """Names of metrics, histograms by their base names."""
    engines = {name for contract in CONTRACTS.values() for name in contract.metrics}
    exporter = {state().PREFIX + name for name in state().GAUGES}
    return frozenset(engines | {*dcgm.METRICS} | exporter | OTHERS | {rule["record"] for rule in rules() if "record" in rule})


def wrong(expr: str) -> list[str]:
    """What is wrong with the metrics of a PromQL expression, a sentence each."""
    found = [f"{name} is measured by nobody" for name in sorted(promql.unknown(expr, known()))]
    return found + [f"{function}() of {name}, which is no counter" for function, name in RATED.findall(expr) if not is_counter(name)]


def is_counter(name: str) -> bool:
    """Whether a metric only rises, so that it has a rate."""
    return bool(COUNTER.fullmatch(name))
