# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of dashboards for the docs, drawn from what a Prometheus answers to their panels' queries; `make pictures`."""

from __future__ import annotations

import json
import re
import textwrap
import time
from pathlib import Path

import matplotlib
from matplotlib import dates, figure, ticker
from matplotlib.patches import Rectangle

from .panels import Grafana, Query

FOOTER = "Drawn by matplotlib from the panels' own queries on the sandbox, not a screenshot of Grafana. {when} UTC"
STEP = 5  # seconds between two points
INK, SOFT, GRID, SHEET = "#18212c", "#566271", "#dfe4ea", "#f4f5f7"
COLOURS = ("#2f66c8", "#cf8400", "#2b8a3e", "#b0338a", "#5c6670", "#0b7285")
# Grafana's units -> factor, and text behind the number.
UNITS = {
    "percent": (1, " %"),
    "percentunit": (100, " %"),
    "mbytes": (1 / 1024, " GiB"),
    "celsius": (1, " °C"),
    "watt": (1, " W"),
    "s": (1, " s"),
    "reqps": (1, " /s"),
    "cps": (1, " /s"),
    "currencyEUR": (1, " €"),
}
INCH, ROW = 0.3, 0.35  # of a unit of Grafana's grid, and of what is above and below all
matplotlib.rcParams |= {"font.size": 8, "text.color": INK, "axes.prop_cycle": matplotlib.cycler(color=COLOURS)}


def draw(grafana: Grafana, dashboard: dict, seconds: float, directory: Path) -> None:
    """The dashboard over the last seconds, as <its name>.png."""
    queries: dict[str, list[Query]] = {}
    for query in grafana.queries(dashboard):
        queries.setdefault(query.panel, []).append(query)
    units = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    height = units * INCH + 3 * ROW
    sheet = figure.Figure(figsize=(14, height), facecolor=SHEET)
    sheet.text(0.01, 1 - ROW / height, dashboard["title"], size=14, weight="bold", va="center")
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    sheet.text(0.01, ROW / 2 / height, FOOTER.format(when=when), color=SOFT, va="center")
    for panel in dashboard["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        top = 1 - (1.7 * ROW + y * INCH) / height
        if panel["type"] == "row":
            sheet.text(0.01, top - 0.2 / height, panel["title"], size=10, weight="bold", color=SOFT, va="center")
            continue
        place = (x / 24 + 0.004, top - (h - 0.25) * INCH / height, w / 24 - 0.008, (h - 0.25) * INCH / height)
        sheet.add_artist(Rectangle(place[:2], *place[2:], facecolor="white", edgecolor=GRID, zorder=-1, transform=sheet.transFigure))
        title = textwrap.shorten(panel["title"], w * 6, placeholder=" …")
        sheet.text(place[0] + 0.006, place[1] + place[3] - 0.18 / height, title, weight="bold", va="center")
        kind = {"timeseries": _lines, "stat": _figures, "table": _table}[panel["type"]]
        kind(sheet, place, height, grafana, queries[panel["title"]], panel, seconds)
    name = dashboard["uid"].removeprefix("selfhosted-llm-")
    sheet.savefig(directory / f"{name}.png", dpi=90, facecolor=SHEET)
    _shrink(directory / f"{name}.png")


def _lines(sheet, place, height, grafana: Grafana, queries: list[Query], panel: dict, seconds: float) -> None:
    """Series over time, with their legend below."""
    end = time.time()
    axes = sheet.add_axes((place[0] + 0.042, place[1] + 0.72 / height, place[2] - 0.052, place[3] - 1.1 / height))
    factor, unit = UNITS.get(queries[0].unit, (1, ""))
    found = [
        (_legend(query, labels), {at: value * factor for at, value in values})
        for query in queries
        for labels, values in grafana.over(query.expr, end - seconds, end, STEP)
    ]
    times = [end - seconds + STEP * number for number in range(int(seconds / STEP) + 1)]
    rows = [[_near(values, at) for at in times] for _legend_, values in found]
    moments = [at / 86400 for at in times]  # matplotlib counts days since 1970
    if panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal":
        axes.stackplot(moments, rows, labels=[legend for legend, _values in found], alpha=0.6)
    else:
        for (legend, _values), row in zip(found, rows, strict=True):
            axes.plot(moments, row, label=legend, linewidth=1.6)
    axes.set_xlim(moments[0], moments[-1])
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05 if any(value > 0 for row in rows for value in row) else 1)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}{unit}")
    axes.tick_params(colors=SOFT, labelsize=7, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    columns = 2 if place[2] < 0.3 else 3
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.13), ncols=columns, frameon=False, fontsize=7, handlelength=1, columnspacing=1)


def _near(values: dict[float, float], at: float) -> float:
    """The value at a time, which Prometheus rounds."""
    return next((value for time_, value in values.items() if abs(time_ - at) < STEP / 2), float("nan"))


def _figures(sheet, place, height, grafana: Grafana, queries: list[Query], _panel: dict, _seconds: float) -> None:
    """Each series' present value."""
    found = [
        (_legend(query, json.loads(labels)), _text(query, value)) for query in queries for labels, value in grafana.now(query.expr).items()
    ]
    for number, (legend, text) in enumerate(found):
        y = place[1] + place[3] * (0.75 - 0.75 * (number + 0.5) / len(found))
        sheet.text(place[0] + place[2] / 2, y + 0.1 / height, text, size=18, ha="center")
        sheet.text(place[0] + place[2] / 2, y - 0.15 / height, legend, color=SOFT, ha="center")


def _table(sheet, place, height, grafana: Grafana, queries: list[Query], _panel: dict, _seconds: float) -> None:
    """The labels of each series and its present value."""
    (query,) = queries
    rows = [json.loads(labels) | {query.legend: _text(query, value)} for labels, value in grafana.now(query.expr).items()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    widths = [max(len(name), *(len(row.get(name, "")) for row in rows)) for name in columns] if rows else []
    x, size = place[0] + 0.006, min(7.5, 7.5 * place[2] * 14 * 72 / (4.6 * sum(width + 2 for width in widths) or 1))
    for name, width in zip(columns, widths, strict=True):
        y = place[1] + place[3] - 0.45 / height
        sheet.text(x, y, name, size=size, weight="bold", color=SOFT, va="center")
        for number, row in enumerate(rows, 1):
            sheet.text(x, y - 0.22 * number / height, row.get(name, ""), size=size, va="center")
        x += (place[2] - 0.012) * (width + 2) / sum(width + 2 for width in widths)


def _legend(query: Query, labels: dict[str, str]) -> str:
    """What stands beside a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), query.legend)


def _text(query: Query, value: float) -> str:
    """A number with its unit."""
    if query.unit == "s" and value > 2 * 86400:
        return f"{value / 86400:.0f} days"
    factor, unit = UNITS.get(query.unit, (1, ""))
    return f"{value * factor:.4g}{unit}"


def _shrink(path: Path) -> None:
    """Fewer colours make a smaller file."""
    from PIL import Image

    with Image.open(path) as image:
        image.convert("RGB").quantize(96).save(path, optimize=True)
