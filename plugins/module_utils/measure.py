# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure endpoints under load, keep what was measured, and tell a regression from noise.

A run is a dict that JSON can hold: ``made`` (time, UTC), ``kind`` (``load`` or ``raw``), the deployment's facts (kube.running), ``setting``
(what was asked), and ``results``. Speeds are tokens per second, times are seconds, both as spreads: ``low``, ``middle`` and ``high``.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import random
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .errors import UserError
from .openai import CHAT, Answer, Endpoint

# What each run has.
KEYS = {"made", "kind", "deployment", "model", "commit", "engine", "image", "args", "env", "share", "setting", "results"}
# Runs whose spread counts as noise.
RECENT = 5
# Short words that are a token each in the vocabularies of today.
WORDS = """the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but some what there
we can out other were all your when up use word how said an each she which do their time if will way about many then them would like so
these her long make thing see him two has look more day could go come did my sound no most number who over know water than call first
people may down side been now find""".split()


def levels(most: int) -> list[int]:
    """Clients at once: 1, 2, 4 and so on, and at last as many as are served at once."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def prompt(tokens: int, name: str) -> str:
    """A text of about so many tokens, another one for each name from its first word on, so that no engine has seen its beginning before."""
    return " ".join([name, *random.Random(name).choices(WORDS, k=tokens)])


def spread(values: list[float]) -> dict[str, float]:
    """The middle half of some values: ``low`` and ``high`` are its ends (quartiles), ``middle`` is the median."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"low": _rounded(low), "middle": _rounded(middle), "high": _rounded(high)}


def at_most(values: list[float], share: float) -> float:
    """The smallest of some values that this share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def load(endpoint: Endpoint, clients: int, requests: int, setting: dict, name: str) -> dict:
    """Let some clients ask at once, each its next question when it has the last answer.

    Args:
        requests: of each client.
        setting: ``prompt_tokens`` and ``answer_tokens`` of each request.
        name: of this measurement, no other has the same.

    Returns:
        ``clients``, ``requests``, ``failures``, ``failure`` (the first one's reason), ``seconds``, ``tokens_per_second`` (of all answers
        together), and of single answers ``first_token`` with its 95th percentile ``first_token_p95``, ``speed`` (tokens per second after
        the first), and ``prompt_tokens`` (as the engine counts them); without the latter where all failed.
    """
    def client(number: int) -> list[Answer | UserError]:
        answers: list[Answer | UserError] = []
        for request in range(requests):
            question = prompt(setting["prompt_tokens"], f"{name}-{clients}-{number}-{request}")
            try:
                # all answers are of one length, where the engine knows this option
                answers.append(endpoint.ask(CHAT, question, setting["answer_tokens"], True, {"ignore_eos": True}))
            except UserError as error:
                answers.append(error)
        return answers

    start = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        everything = [answer for answers in pool.map(client, range(clients)) for answer in answers]
    seconds = time.monotonic() - start
    answers = [answer for answer in everything if isinstance(answer, Answer)]
    failures = [str(answer) for answer in everything if not isinstance(answer, Answer)]
    result = {"clients": clients, "requests": len(everything), "failures": len(failures), "failure": failures[0] if failures else None}
    if answers:
        first = [answer.first_token for answer in answers]
        result |= {
            "seconds": _rounded(seconds),
            "tokens_per_second": _rounded(sum(answer.tokens for answer in answers) / seconds),
            "first_token": spread(first),
            "first_token_p95": _rounded(at_most(first, 0.95)),
            "speed": spread([answer.tokens_per_second for answer in answers]),
            "prompt_tokens": statistics.median_low([answer.prompt_tokens or 0 for answer in answers]),
        }
    return result


def history(path: str) -> list[dict]:
    """The runs of a file with a JSON object on each line, oldest first; none where there is no file.

    Raises:
        UserError: a line is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"The history {path} (llm_bench_history) cannot be read: {error}.") from None
    return [_run(line, f"Line {number} of the history {path} (llm_bench_history)") for number, line in enumerate(lines, 1)]


def remember(path: str, run: dict) -> None:
    """Add a run to a history.

    Raises:
        UserError: it cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
    except OSError as error:
        raise UserError(f"The history {path} (llm_bench_history) cannot be written: {error.strerror}.") from None


def like(runs: list[dict], run: dict) -> list[dict]:
    """Those of some runs that asked the same of the same deployment, and got answers."""
    alike = [old for old in runs if all(old[key] == run[key] for key in ("deployment", "kind", "setting"))]
    return [old for old in alike if any(True for _measure in _measures(old))]


def regressions(run: dict, before: list[dict], tolerance: float) -> list[str]:
    """What is slower than in the last of some runs, a sentence each.

    A median counts as worse when it is so by more than the tolerance (a share of the median before), and the middle half of its values
    overlaps with that of none of the last RECENT runs: what lies within the spread of single requests, or of whole runs, is noise.
    """
    found = []
    recent = [dict(_measures(old)) for old in before[-RECENT:]]
    for name, now in _measures(run):
        if not recent or name not in recent[-1]:
            continue
        old, seen = recent[-1][name]["middle"], [measures[name] for measures in recent if name in measures]
        if name.startswith("time"):
            unit = "s"
            worse = now["middle"] > old * (1 + tolerance) and now["low"] > max(spread["high"] for spread in seen)
        else:
            unit = "tokens/s"
            worse = now["middle"] < old * (1 - tolerance) and now["high"] < min(spread["low"] for spread in seen)
        if worse:
            found.append(f"{name}: {now['middle']:g} {unit}, was {old:g} ({now['middle'] / old - 1:+.0%})")
    return found


def differences(run: dict, before: dict) -> list[str]:
    """What else changed about the deployment since a run."""
    found = []
    for key in ("model", "commit", "engine", "image", "share", "env"):
        if run[key] != before[key]:
            found.append(f"{key} was {before[key]}")
    gone, come = (" ".join(arg for arg in one["args"] if arg not in other["args"]) for one, other in ((before, run), (run, before)))
    if run["args"] != before["args"]:
        found.append(f"args had {gone or 'nothing'} in place of {come or 'nothing'}")
    return found


def similarity(one: str, other: str) -> float:
    """How alike two texts are, from 0 to 1, by the words that they have in the same order (difflib's ratio)."""
    return difflib.SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _run(line: str, where: str) -> dict:
    try:
        run = json.loads(line)
    except ValueError:
        run = None
    if not isinstance(run, dict) or not KEYS <= run.keys():
        raise UserError(f"{where} is no run: remove it.")
    return run


def _measures(run: dict) -> Iterator[tuple[str, dict[str, float]]]:
    """What is judged of a run, by a name that tells its unit."""
    for result in run["results"]:
        if run["kind"] == "raw":
            yield f"speed of {result['test']}", result["speed"]
        elif "speed" in result:
            clients = f"{result['clients']} client{'s' if result['clients'] > 1 else ''}"
            yield f"time to first token with {clients}", result["first_token"]
            yield f"speed of one answer with {clients}", result["speed"]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
