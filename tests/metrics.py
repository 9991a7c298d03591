# SPDX-License-Identifier: GPL-3.0-or-later
"""All metrics that dashboards and rules may use, and of which there are rates."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS

from . import promql

ROLES = Path(__file__).parents[1] / "roles"
OTHERS = {"up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}  # of Prometheus, of kubelets
# Counters have names of this form, and TGI's some others.
COUNTER = re.compile(r"[\w:]+[_:](total|count|sum|bucket)|tgi_\w+_(success|failure)")
RATED = re.compile(r"\b(rate|irate|increase)\s*\(\s*([a-zA-Z_:][\w:]*)")


@cache
def known() -> frozenset[str]:
    """Of the engines' pinned versions, our state exporter, our recording rules, NVIDIA's exporter as we set it up, and others."""
    engines = {name for contract in CONTRACTS.values() for name in contract.metrics}
    state = (ROLES / "monitoring/files/state.py").read_text()
    exported = re.findall(r'yield (?:from _end\()?"(\w+)"', state)
    rules = "".join(path.read_text() for path in (ROLES / "monitoring/templates/rules").glob("*.yml"))
    nvidia = "".join(path.read_text() for path in (ROLES / "nvidia_utilities").rglob("*") if path.is_file())
    return frozenset(
        engines
        | {f"selfhosted_llm_{name}" for name in exported}
        | set(re.findall(r"- record: (\S+)", rules))
        | set(re.findall(r"\bDCGM_(?:FI|EXP)_\w+", nvidia))
        | OTHERS
    )


def wrong(expr: str) -> list[str]:
    """What is wrong with the metrics of a PromQL expression, a sentence each."""
    found = [f"{name} is measured by nobody" for name in sorted(promql.unknown(expr, set(known())))]
    return found + [f"{function}() of {name}, which is no counter" for function, name in RATED.findall(expr) if not is_counter(name)]


def is_counter(name: str) -> bool:
    """Whether a metric only rises, so that it has a rate."""
    return bool(COUNTER.fullmatch(name))
