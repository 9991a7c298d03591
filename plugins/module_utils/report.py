# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a fleet as a page and as text, both made of the data that CI gets as plan.json.

The page is one file that needs nothing else: it loads nothing, runs nothing, and its Content-Security-Policy says so.

Shape of a plan; what may be None is unknown::

    made: time, ISO 8601
    platform: name or address
    prices: whether prices are known
    engineers: list of
        name, eur_per_hour | None, eur_per_month | None
        deployments: list of
            name, engine, model, licence, share, pool
            verdict: fits, tight, no or unknown
            message: sentence with the arithmetic
            gpus: list, empty where unknown, of
                free_mib, total_mib, left_mib (negative where it does not fit)
                parts: MiB by the names in PARTS
            tokens_per_second | None: what the bandwidth of the memory allows
            eur_per_hour | None, eur_per_month | None
            download_bytes | None, in_place: size of the weights, and whether they lie on the volume
            changes: list of texts
            proposals: list of what, change, verdict
    cards: list of
        pool, node, card, usable_mib, slots
        taken: list of deployment, mib, slot (from 0)
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from .errors import library
from .weights import in_words

# What a deployment takes of a GPU (fit.parts.Parts), as the page names and explains it.
PARTS = {
    "weights": ("weights", "the model's tensors on this GPU"),
    "kv": ("KV cache", "keys and values of the context, for all slots"),
    "compute": ("compute", "buffers for intermediate results"),
    "context": ("CUDA context", "what CUDA and its libraries take for a process"),
    "margin": ("margin", "kept free for what is not known exactly"),
}
# Verdicts in words, as one says them of one deployment and of several.
VERDICTS = {
    "fits": ("fits", "fit"),
    "tight": ("tight", "tight"),
    "no": ("does not fit", "do not fit"),
    "unknown": ("unknown", "unknown"),
}


class Totals(NamedTuple):
    """A plan in numbers; EUR are None where prices are unknown.

    Attributes:
        verdicts: deployments by verdict, all of VERDICTS.
        changed: deployments with changes.
        download_bytes: of weights that are on no volume yet.
    """

    deployments: int
    verdicts: dict[str, int]
    changed: int
    download_bytes: int
    eur_per_hour: float | None
    eur_per_month: float | None


def totals(plan: dict) -> Totals:
    """The plan in numbers."""
    deployments = [deployment for engineer in plan["engineers"] for deployment in engineer["deployments"]]
    verdicts = Counter(deployment["verdict"] for deployment in deployments)
    prices = (
        sum(engineer[key] or 0 for engineer in plan["engineers"]) if plan["prices"] else None for key in ("eur_per_hour", "eur_per_month")
    )
    return Totals(
        len(deployments),
        {verdict: verdicts[verdict] for verdict in VERDICTS},
        sum(bool(deployment["changes"]) for deployment in deployments),
        sum(deployment["download_bytes"] or 0 for deployment in deployments if not deployment["in_place"]),
        *prices,
    )


def page(plan: dict) -> str:
    """The plan as one self-contained HTML file, to be written as UTF-8."""
    here = Path(__file__)
    style = here.with_suffix(".css").read_text(encoding="utf-8")
    environment = library("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"eur": _eur, "mib": _mib, "words": in_words, "time": _time, "count": _count}
    return environment.from_string(here.with_suffix(".html").read_text(encoding="utf-8")).render(
        plan=_printable(plan),
        totals=totals(plan),
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        PARTS=PARTS,
        VERDICTS=VERDICTS,
        alike=_alike,
        segments=_segments,
    )


def rows(plan: dict) -> list[dict[str, str]]:
    """The deployments as rows of a table on the screen."""
    return [
        {
            "deployment": deployment["name"],
            "engineer": engineer["name"],
            "model": deployment["model"],
            "engine": deployment["engine"],
            "share": deployment["share"],
            "verdict": deployment["verdict"],
            "memory": _memory(deployment["gpus"]),
            "tokens/s at most": _or_dash("{:.0f}", deployment["tokens_per_second"]),
            "EUR/h": _or_dash("{:.2f}", deployment["eur_per_hour"]),
            "changes": str(len(deployment["changes"])),
        }
        for engineer in _printable(plan)["engineers"]
        for deployment in engineer["deployments"]
    ]


def notes(plan: dict) -> list[str]:
    """What stands below the table: why a deployment does not simply fit, what would, and the totals in the last line."""
    lines = []
    for engineer in _printable(plan)["engineers"]:
        for deployment in engineer["deployments"]:
            if deployment["verdict"] != "fits":
                lines.append(f"{deployment['name']} ({VERDICTS[deployment['verdict']][0]}): {deployment['message']}")
                lines += [f"  {proposal['what']}: {proposal['change']} ({proposal['verdict']})" for proposal in deployment["proposals"]]
    total = totals(plan)
    last = _count(total.deployments, "deployment")
    if total.deployments:
        last += ": " + ", ".join(f"{count} {VERDICTS[verdict][count > 1]}" for verdict, count in total.verdicts.items() if count)
    if total.eur_per_hour is not None:
        last += f"; {_eur(total.eur_per_hour)} EUR an hour, {_eur(total.eur_per_month, 0)} EUR a month"
    return [*lines, last]


def _memory(gpus: list[dict]) -> str:
    """What is taken of the GPU with the least left: each must fit alone."""
    if not gpus:
        return "-"
    least = min(gpus, key=lambda gpu: gpu["left_mib"])
    where = "" if len(gpus) == 1 else f" on {'each' if len(_alike(gpus)) == 1 else 'the fullest'} of {len(gpus)}"
    return f"{least['total_mib'] / 1024:.1f} of {least['free_mib'] / 1024:.1f} GiB{where}"


def _alike(gpus: list[dict]) -> list[tuple[str, dict]]:
    """Neighbours among the GPUs that take the same as one, with their name; a single GPU needs none."""
    found, first = [], 0
    for gpu, group in groupby(gpus):
        end = first + len(list(group))
        name = f"GPU {first}" if end == first + 1 else f"GPU {first} to {end - 1}, each"
        found.append((name if len(gpus) > 1 else "", gpu))
        first = end
    return found


class Segment(NamedTuple):
    """A part of a bar: its name, the MiB it stands for, and where it starts and how long it is in per cent of the bar."""

    name: str
    mib: int
    start: float
    length: float


def _segments(parts: dict[str, int], scale: int) -> Iterator[Segment]:
    """A bar of parts (MiB) beside one another, where ``scale`` MiB are the whole length."""
    start = 0
    for name, mib in parts.items():
        yield Segment(name, mib, round(100 * start / scale, 3), round(100 * mib / scale, 3))
        start += mib


def _printable(data: Any) -> Any:
    """The plan without characters that would steer a terminal, reverse what stands beside them, or fit in no file."""
    if isinstance(data, dict):
        return {key: _printable(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_printable(value) for value in data]
    if isinstance(data, str):
        return "".join(char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in data)
    return data


def _time(made: str) -> str:
    return f"{datetime.fromisoformat(made).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _eur(value: float, decimals: int = 2) -> str:
    return f"{value:,.{decimals}f}"


def _mib(value: int) -> str:
    return f"{value:,}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _or_dash(form: str, value: float | None) -> str:
    return "-" if value is None else form.format(value)
