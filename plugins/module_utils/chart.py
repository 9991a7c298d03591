# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bench as a picture (SVG, light and dark): tokens per second and time to first token over the number of clients."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from html import escape

from .engines import CONTRACTS

WIDTH, HEIGHT = 760, 400
# The plot of each half, from the left edge of the half: x of its axis, length; y of its top and bottom.
HALF, LEFT, LENGTH, TOP, BOTTOM = WIDTH // 2, 56, 296, 144, 344
# Written without custom properties, which viewers other than browsers do not know.
STYLE = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums }
.title { font-size: 18px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 }
.run { fill: none; stroke-width: 2.5; stroke-linejoin: round } .run.last { stroke-dasharray: 5 4; stroke-width: 1.5 }
.value { paint-order: stroke; stroke-width: 4; stroke-linejoin: round }
.dot.last { stroke-width: 1.5 } .reach { stroke-width: 1.5; opacity: .5 }
"""
LIGHT = """
.sheet { fill: #fff } .value { stroke: #fff } .grid { stroke: #dfe4ea } .ink { fill: #18212c } .soft { fill: #566271 }
.speed .run, .speed .dot, .speed .reach { stroke: #2f66c8 } .speed .dot { fill: #2f66c8 } .speed .dot.last { fill: #fff }
.first .run, .first .dot, .first .reach { stroke: #cf8400 } .first .dot { fill: #cf8400 } .first .dot.last { fill: #fff }
"""
# The same in dark, colour by colour.
DARK = {"#fff": "#161c24", "#dfe4ea": "#2a323d", "#18212c": "#e3e9f0", "#566271": "#9ba8b7", "#2f66c8": "#5b8df0", "#cf8400": "#e0a030"}


def svg(run: dict, last: dict | None) -> str:
    """The picture of a run (see measure), and of the one before where there is one."""
    runs = [("last", last), ("", run)] if last else [("", run)]
    name = escape(run["deployment"])
    served = f"{run['model']} on {CONTRACTS[run['engine']].title}, {run['share']}"
    asked = "{prompt_tokens} tokens of prompt, {answer_tokens} of answer".format(**run["setting"])
    clients = sorted({result["clients"] for _style, one in runs for result in one["results"] if "speed" in result})
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Bench of {name}">',
            f"<style>{STYLE}{LIGHT}@media (prefers-color-scheme: dark) {{{_dark()}}}</style>",
            f'<rect class="sheet" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            f'<text class="ink title" x="24" y="38">{name}</text>',
            f'<text class="soft" x="24" y="60">{escape(served)}</text>',
            f'<text class="soft" x="24" y="80">{escape(asked)}; {_legend(run, last)}</text>',
            *_half(0, "speed", "tokens per second, all clients together", clients, runs, _speed),
            *_half(HALF, "first", "seconds to first token: median, up to p95", clients, runs, _first_token),
            "</svg>\n",
        ]
    )


def _dark() -> str:
    return re.sub("#[0-9a-f]+", lambda colour: DARK[colour[0]], LIGHT)


def _legend(run: dict, last: dict | None) -> str:
    dates = f"solid: {run['made'][:16].replace('T', ' ')} UTC"
    return escape(dates + (f", dashed: {last['made'][:16].replace('T', ' ')} UTC" if last else ""))


def _speed(result: dict) -> tuple[float, float | None]:
    """The point of a result, and how far up its line reaches; None where it has none."""
    return result["tokens_per_second"], None


def _first_token(result: dict) -> tuple[float, float | None]:
    return result["first_token"]["middle"], result["first_token_p95"]


def _half(left: int, name: str, title: str, clients: list[int], runs: list, value: Callable) -> Iterator[str]:
    """One diagram of what ``value`` takes from each result."""
    series = [(style, {r["clients"]: value(r) for r in one["results"] if "speed" in r}) for style, one in runs]
    top, step = _scale(max((number for _style, points in series for point in points.values() for number in point if number), default=1))

    def x(count: int) -> float:
        return left + LEFT + LENGTH * (clients.index(count) + 0.5) / len(clients)

    def y(number: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * number / top

    yield f'<g class="{name}">'
    yield f'<text class="ink name" x="{left + 24}" y="116">{title}</text>'
    for tick in range(round(top / step) + 1):
        height = y(tick * step)
        yield f'<line class="grid" x1="{left + LEFT}" x2="{left + LEFT + LENGTH}" y1="{height:.1f}" y2="{height:.1f}"/>'
        yield f'<text class="soft" x="{left + LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{tick * step:g}</text>'
    for count in clients:
        yield f'<text class="soft" x="{x(count):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{count}</text>'
    yield f'<text class="soft" x="{left + LEFT + LENGTH / 2:.0f}" y="{BOTTOM + 42}" text-anchor="middle">clients at once</text>'
    for style, points in series:
        line = " ".join(f"{x(count):.1f},{y(point):.1f}" for count, (point, _reach) in sorted(points.items()))
        yield f'<polyline class="run {style}" points="{line}"/>'
        for count, (point, reach) in sorted(points.items()):
            about = f"{point:g} with {count}"
            if reach and not style:
                yield f'<line class="reach" x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{y(point):.1f}" y2="{y(reach):.1f}"/>'
            yield f'<circle class="dot {style}" cx="{x(count):.1f}" cy="{y(point):.1f}" r="4"><title>{about}</title></circle>'
            if not style:
                yield f'<text class="ink value" x="{x(count):.1f}" y="{y(point) - 11:.1f}" text-anchor="middle">{point:.3g}</text>'
    yield "</g>"


def _scale(most: float) -> tuple[float, float]:
    """The end of an axis from 0 that has room for a value, and the step of its marks."""
    power = 10 ** math.floor(math.log10(most / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if most / (power * factor) <= 5)
    return step * math.ceil(most * 1.05 / step), step
