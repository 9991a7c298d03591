# SPDX-License-Identifier: GPL-3.0-or-later
"""Periods, and what becomes of Prometheus' answers. What the questions amount to, tests/rules shows."""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.prometheus import Sample
from ansible_collections.selfhosted.llm.plugins.module_utils.usage import FIRST, Period, not_held, over, period, read, total

NOW = 1795996800.0  # 2026-11-30T00:00:00Z
DAY = 86400
ALICE = {"engineer": "alice", "deployment": "alice-chat", "engine": "llama-cpp", "model": "m@1"}


@pytest.mark.parametrize(
    ("length", "since", "until", "expected"),
    [
        ("24h", None, None, (NOW - DAY, NOW)),
        ("90m", None, None, (NOW - 5400, NOW)),
        ("2w", None, "2026-11-29", (NOW - 15 * DAY, NOW - DAY)),
        ("24h", "2026-11-28T12:00", None, (NOW - 1.5 * DAY, NOW)),
        ("24h", "2026-11-28T13:00+01:00", "2026-11-29T00:00:00Z", (NOW - 1.5 * DAY, NOW - DAY)),
        ("24h", "2026-11-01", "2026-12-01", (NOW - 29 * DAY, NOW)),
    ],
)
def test_periods(length, since, until, expected):
    assert period(length, since, until, NOW) == expected


@pytest.mark.parametrize(
    ("length", "since", "until", "named"),
    [
        ("month", None, None, "monitoring_usage_period is month"),
        ("24h", "last week", None, "monitoring_usage_since is last week"),
        ("24h", None, "11/30", "monitoring_usage_until is 11/30"),
        ("24h", "2026-11-29", "2026-11-28", "monitoring_usage_since must be before"),
        ("24h", "2026-12-01", None, "monitoring_usage_since must be before"),
    ],
)
def test_what_is_no_period_is_named(length, since, until, named):
    with pytest.raises(UserError, match=named):
        period(length, since, until, NOW)


class Prometheus:
    """Answers by a part of the question."""

    def __init__(self, answers: dict[str, list[tuple[dict, float]]]):
        self.answers = answers

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        assert at == NOW and "[R" not in expression
        return [Sample(labels, value, at) for part, found in self.answers.items() if part in expression for labels, value in found]


def test_rows_have_what_each_engine_counts():
    bob = {"engineer": "bob", "deployment": "bob-tgi", "engine": "tgi"}
    usage = read(
        Prometheus(
            {
                "llm:prompt_tokens:total[86400s]": [(ALICE, 99.6), (bob, 10.0)],
                "llm:requests:total": [(bob, 3.2)],
                "llm:gpus:held[86400s:1m]": [(ALICE, 12.34567), (bob, 1.0)],
                "llm:cost_eur_per_hour": [(ALICE, 6.0), (bob, 0.5)],
                "llm:pool_gpus": [({}, 48.0)],
                "llm:pool_cost": [({}, 24.0)],
                "timestamp": [({}, NOW - 3600)],
            }
        ),
        Period(NOW - DAY, NOW),
    )
    alice = ALICE | {"tokens_in": 100, "tokens_out": None, "requests": None, "gpu_hours": 12.3457, "eur": 6.0}
    assert usage.rows == [alice, bob | {"model": "", "tokens_in": 10, "tokens_out": None, "requests": 3, "gpu_hours": 1.0, "eur": 0.5}]
    assert usage.first == NOW - 3600
    assert total(usage.rows) == {"tokens_in": 110, "tokens_out": None, "requests": 3, "gpu_hours": 13.3457, "eur": 6.5}
    assert not_held(usage) == {"tokens_in": None, "tokens_out": None, "requests": None, "gpu_hours": 34.6543, "eur": 17.5}


def test_an_engineer_sees_no_pools():
    usage = read(Prometheus({"llm:gpus:held": [(ALICE, 1.0)]}), Period(NOW - DAY, NOW))
    assert not_held(usage) is None and usage.first is None


def test_the_period_stands_in_every_range():
    assert over(FIRST, Period(0, 3600)).count("[3600s:1m]") == 1
