# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What engineers used of the platform in a period, from the series that Prometheus' rules record."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from .errors import UserError
from .prometheus import Prometheus

WHO = ("engineer", "deployment", "engine", "model")
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
# Column -> what it sums up over the range R. Counters are kept for each pod, so that increase() sees where one begins anew; it
# reckons for the time between a pod's first and last sample and up to half an interval beyond. What is held is looked at each minute.
COLUMNS = {
    "tokens_in": "increase(llm:prompt_tokens:total[R])",
    "tokens_out": "increase(llm:answer_tokens:total[R])",
    "requests": "increase(llm:requests:total[R])",
    "gpu_hours": "sum_over_time(llm:gpus:held[R:1m]) / 60",
    "eur": "sum_over_time(llm:cost_eur_per_hour[R:1m]) / 60",
}
POOLS = {"gpu_hours": "sum_over_time(llm:pool_gpus[R:1m]) / 60", "eur": "sum_over_time(llm:pool_cost_eur_per_hour[R:1m]) / 60"}
FIRST = "min(min_over_time(timestamp(selfhosted_llm_deployment_wanted)[R:1m]))"


class Period(NamedTuple):
    """From when to when, as Unix times in seconds."""

    begin: float
    end: float


class Usage(NamedTuple):
    """What one Prometheus knows of a period.

    Attributes:
        rows: for each of WHO its labels and COLUMNS, None where the engine counts no such thing.
        pools: what the pools had and cost, as POOLS; empty where only an engineer's part is shown.
        first: Unix time of the period's first sample of any deployment; None where there is none.
    """

    rows: list[dict]
    pools: dict[str, float]
    first: float | None


def period(length: str, since: str | None, until: str | None, now: float) -> Period:
    """The period that the options mean: until then or now, from then or of that length.

    Raises:
        UserError: one of them is not understood, or nothing is between them.
    """
    end = now if until is None else _time("monitoring_usage_until", until)
    if since is not None:
        begin = _time("monitoring_usage_since", since)
    elif match := re.fullmatch(r"(\d+)([mhdw])", length):
        begin = end - int(match[1]) * UNITS[match[2]]
    else:
        raise UserError(f"monitoring_usage_period is {length}; it must be a number and m, h, d or w, such as 24h or 30d.")
    end = min(end, now)
    if end - begin < 60:
        raise UserError(
            f"From {said(begin)} to {said(end)} is no period of a minute or more: monitoring_usage_since must be before "
            "monitoring_usage_until, and before now."
        )
    return Period(begin, end)


def read(prometheus: Prometheus, when: Period) -> Usage:
    """What a Prometheus knows.

    Raises:
        UserError: it does not answer.
    """
    found: dict[tuple[str, ...], dict] = {}
    for column, expression in COLUMNS.items():
        for labels, value, _time in prometheus.query(over(f"sum by ({', '.join(WHO)}) ({expression})", when), when.end):
            row = found.setdefault(tuple(labels.get(name, "") for name in WHO), dict.fromkeys(COLUMNS))
            row[column] = _rounded(column, value)
    pools = {}
    for column, expression in POOLS.items():
        for sample in prometheus.query(over(f"sum({expression})", when), when.end):
            pools[column] = _rounded(column, sample.value)
    first = prometheus.query(over(FIRST, when), when.end)
    rows = [dict(zip(WHO, who, strict=True)) | row for who, row in sorted(found.items())]
    return Usage(rows, pools, first[0].value if first else None)


def total(rows: list[dict]) -> dict:
    """The sums of COLUMNS; None where no row has a value."""
    values = {column: [row[column] for row in rows if row[column] is not None] for column in COLUMNS}
    return {column: round(sum(mine), 4) if mine else None for column, mine in values.items()}


def not_held(usage: Usage) -> dict | None:
    """What of the pools nobody held, which is the platform's; None where the pools are not shown."""
    if len(usage.pools) < len(POOLS):
        return None
    held = total(usage.rows)
    return dict.fromkeys(COLUMNS) | {column: max(round(have - (held[column] or 0), 4), 0.0) for column, have in usage.pools.items()}


def said(moment: float) -> str:
    """A Unix time as users read it (UTC, ISO 8601)."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def over(expression: str, when: Period) -> str:
    """PromQL with the period in R's place."""
    return expression.replace("[R", f"[{round(when.end - when.begin)}s")


def _rounded(column: str, value: float) -> float:
    return round(value, 4) if column in POOLS else round(value)


def _time(variable: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{variable} is {text}; it must be a date or time such as 2026-11-01 or 2026-11-01T12:00 (UTC).") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
