# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of the stand-ins for TGI and vLLM, in the text form that Prometheus reads."""
from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence


class Metrics:
    """An engine's metrics as Prometheus reads them.

    Args:
        names: of all, histograms by their base names.
        prefix: of all names, which is left out below.
        gauges: which of them are gauges; what is neither here nor in ``buckets`` is a counter.
        buckets: upper bounds of each histogram; none of one that is given as a summary (here without quantiles).
        labels: of each sample.
        created: whether counters and histograms say when they began, as Python's client does.
    """

    def __init__(self, names: tuple[str, ...], prefix: str, gauges: frozenset[str], buckets: Mapping[str, Sequence[float]],
                 labels: Mapping[str, str], created: bool) -> None:
        self.names, self.prefix, self.gauges, self.buckets, self.labels = set(names), prefix, gauges, buckets, labels
        self.began = time.time() if created else None
        self.series: dict[str, dict[tuple[tuple[str, str], ...], Series]] = {}
        self._lock = threading.Lock()

    def add(self, labels: Mapping[str, str] | None = None, /, **values: float) -> None:
        """Count, observe, or move a gauge, by what the metric is."""
        with self._lock:
            for name, value in values.items():
                self._find(name, labels or {}).add(value)

    def start(self, name: str, **labels: str) -> None:
        """Have the metric be there before its first value."""
        with self._lock:
            self._find(name, labels)

    def _find(self, name: str, labels: Mapping[str, str]) -> Series:
        assert self.prefix + name in self.names, f"no such metric: {name}"
        key = tuple(sorted({**self.labels, **labels}.items()))
        return self.series.setdefault(name, {}).setdefault(key, Series(self.buckets.get(name)))

    def text(self) -> str:
        with self._lock:
            return "".join(line + "\n" for name in sorted(self.series) for line in self._lines(name))

    def _lines(self, name: str) -> Iterator[str]:
        bounds, full = self.buckets.get(name), self.prefix + name
        kind = "gauge" if name in self.gauges else "counter" if bounds is None else "histogram" if bounds else "summary"
        yield f"# TYPE {full} {kind}"
        for labels, series in self.series[name].items():
            if bounds is None:
                yield _sample(full, labels, series.sum)
                continue
            for bound, count in zip(series.bounds, series.counts, strict=True) if bounds else ():
                yield _sample(f"{full}_bucket", (*labels, ("le", "+Inf" if bound == math.inf else str(bound))), count)
            yield _sample(f"{full}_sum", labels, series.sum)
            yield _sample(f"{full}_count", labels, series.counts[-1])
        if self.began and kind != "gauge":
            born = f"{full if bounds else full.removesuffix('_total')}_created"
            yield f"# TYPE {born} gauge"
            for labels in self.series[name]:
                yield _sample(born, labels, self.began)


class Series:
    """Values of a metric with the same labels: their sum and, of a histogram, how many are below each bound."""

    def __init__(self, bounds: Sequence[float] | None) -> None:
        self.sum, self.bounds = 0.0, [*map(float, bounds or ()), math.inf]
        self.counts = [0] * len(self.bounds)

    def add(self, value: float) -> None:
        self.sum += value
        for place, bound in enumerate(self.bounds):
            self.counts[place] += value <= bound


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in labels)
    return f"{name}{{{inside}}} {float(value)!r}" if inside else f"{name} {float(value)!r}"
