# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of metrics in PromQL."""

from __future__ import annotations

import pytest

from tests.promql import metrics, unknown


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("up", {"up"}),
        ('sum by (pod, up) (rate(llamacpp:prompt_tokens_total{pod=~"a|b", x!="{y}"}[5m]))', {"llamacpp:prompt_tokens_total"}),
        ("sum(a) by (b) / on (c) group_left (d) e offset 5m > bool 3.5e3 and f == 1", {"a", "e", "f"}),
        ('a{b="c"} unless on () sum(d[1h30m:1m] @ end()) # e', {"a", "d"}),
        ('histogram_quantile(0.95, x:y_bucket{engineer=~"$engineer"}) * rate(z[$__rate_interval])', {"x:y_bucket", "z"}),
        ("time() - vector(1) + -Inf", set()),
    ],
)
def test_names(expr, names):
    assert metrics(expr) == names


@pytest.mark.parametrize(
    "expr", ["sum(a", "a)", "a{b)", '{__name__=~"llm:.+"}', 'a{__name__="b"}', "rated(a[5m])", "a ! b", "a[5m", 'a{b="c']
)
def test_what_is_not_understood_is_no_silence(expr):
    with pytest.raises(ValueError):
        metrics(expr)


def test_parts_of_histograms_are_known_by_the_histogram():
    assert unknown("a_bucket + a_sum + a_count + b + c_sum", {"a", "b"}) == {"c_sum"}
