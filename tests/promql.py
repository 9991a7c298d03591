# SPDX-License-Identifier: GPL-3.0-or-later
"""Which metrics a PromQL expression reads, without Prometheus: strict, so that what is not understood fails a test."""

from __future__ import annotations

import re
from collections.abc import Collection

KEYWORDS = {"and", "or", "unless", "atan2", "bool", "offset", "start", "end", "inf", "nan"}
# Followed by label names in brackets.
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
AGGREGATIONS = "sum avg count min max group stddev stdvar topk bottomk count_values quantile"
FUNCTIONS = """
    abs absent absent_over_time avg_over_time ceil changes clamp clamp_max clamp_min count_over_time delta deriv floor
    histogram_quantile hour idelta increase irate label_join label_replace last_over_time max_over_time min_over_time
    present_over_time quantile_over_time rate resets round scalar sort sort_desc stddev_over_time sum_over_time time
    timestamp vector
"""
CALLS = {*AGGREGATIONS.split(), *FUNCTIONS.split()}
TOKEN = re.compile(
    r"""
    (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    | (?P<range>\[(?:[0-9a-z:]|\$\w+|\$\{\w+\})+\])
    | (?P<number>(?:\d+(?:ms|[smhdwy]))+(?!\w)|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    | (?P<name>[a-zA-Z_:][\w:]*)
    | (?P<operator>=~|!~|==|!=|<=|>=|[-+*/%^<>=(){},@])
    """,
    re.VERBOSE,
)
PARTS = re.compile(r"_(bucket|sum|count)$")


def metrics(expr: str) -> set[str]:
    """The names of all metrics that a PromQL expression reads; Grafana's variables may stand in texts and ranges.

    Raises:
        ValueError: it is not understood, or selects metrics by another thing than their names.
    """
    found, tokens = set(), _tokens(expr)
    closing: list[str] = []  # of the open brackets: ")", or "labels" and "}" where names are those of labels
    for place, (kind, text) in enumerate(tokens):
        before = tokens[place - 1][1] if place else ""
        after = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if text == "(":
            closing.append("labels" if before.lower() in LABEL_LISTS else ")")
        elif text == "{":
            if before not in found:
                raise ValueError(f"a selector without a name in: {expr}")
            closing.append("}")
        elif text in (")", "}"):
            if not closing or (closing.pop() == "}") != (text == "}"):
                raise ValueError(f"unbalanced brackets in: {expr}")
        elif kind == "name" and not (closing and closing[-1] != ")"):
            lower = text.lower()
            if after == "(" and (lower in CALLS or lower in LABEL_LISTS or lower in KEYWORDS):
                continue
            if lower in KEYWORDS or (lower in AGGREGATIONS.split() and after in ("by", "without")) or lower in LABEL_LISTS:
                continue
            if after == "(":
                raise ValueError(f"{text} is no known function in: {expr}")
            found.add(text)
        elif kind == "name" and text == "__name__":
            raise ValueError(f"metrics are selected by a pattern in: {expr}")
    if closing:
        raise ValueError(f"unbalanced brackets in: {expr}")
    return found


def unknown(expr: str, known: Collection[str]) -> set[str]:
    """Those metrics of an expression that are neither known nor parts of a known histogram."""
    return {name for name in metrics(expr) if name not in known and PARTS.sub("", name) not in known}


def _tokens(expr: str) -> list[tuple[str, str]]:
    """Kind and text of each token but space."""
    found, place = [], 0
    while place < len(expr):
        match = TOKEN.match(expr, place)
        if not match:
            raise ValueError(f"not understood from here on: {expr[place:]}")
        place = match.end()
        if match.lastgroup != "space":
            found.append((match.lastgroup, match.group()))
    return found
