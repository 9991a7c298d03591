# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of llama-server's logs, options, routes and metrics, against those of the pinned build on a GPU (tests/recorded)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils import engine_log
from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS

REPOSITORY = Path(__file__).parents[4]
RECORDED = REPOSITORY / "tests/recorded/llama_cpp"
CONTRACT = CONTRACTS["llama_cpp"]
ROUTES = json.loads((RECORDED / "routes.json").read_text())
ENDS = json.loads((RECORDED / "ends.json").read_text())
OUT_OF_MEMORY = [name for name in ENDS if name.startswith("out_of_memory")]


def log(name: str) -> str:
    return (RECORDED / f"{name}.log").read_text()


def path(route: str) -> str:
    return route.split()[1]


@pytest.mark.parametrize(("name", "layers"), [("full", (33, 33)), ("partial", (10, 33)), ("none", (0, 33)), ("no_device", None)])
def test_layers_on_the_gpu_are_read(name, layers):
    assert engine_log.offloaded(log(name)) == layers


@pytest.mark.parametrize("name", ["partial", "none", "no_device"])
def test_layers_that_are_not_on_the_gpu_are_noticed(name):
    assert ENDS[name]["answer"] == 200  # it serves all the same
    assert engine_log.off_gpu(log(name)) and not engine_log.off_gpu(log("full"))


def test_without_the_verbosity_the_log_does_not_say_it():
    assert engine_log.offloaded(log("default_verbosity")) is None


@pytest.mark.parametrize("name", ENDS)
def test_only_a_lack_of_gpu_memory_is_taken_for_one(name):
    assert bool(engine_log.out_of_gpu_memory(log(name))) == (name in OUT_OF_MEMORY) == ENDS[name]["ended_by_itself"]


@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_the_last_error_is_of_the_gpus_memory(name):
    assert re.search(r"out of memory|CUDA0|kv cache|cuMem|create_context", engine_log.last_error(log(name)))


def test_the_options_are_those_of_the_help():
    text, names, removed = (RECORDED / "help.txt").read_text(), set(), set()
    # A line that begins with an option names all its spellings, then its value; its text begins in a column of its own.
    for entry in re.split(r"\n(?=-)", text):
        spelled = re.match(r"((?:--?[A-Za-z][\w.-]*,?\s+)*--?[A-Za-z][\w.-]*)", entry)
        if spelled:
            (removed if "the argument has been removed" in entry else names).update(re.findall(r"--?[A-Za-z][\w.-]*", spelled[1]))
    assert sorted(names) == sorted(CONTRACT.flags)
    assert removed <= CONTRACT.removed.keys()
    assert set(re.findall(r"env: (\w+)", text)) <= CONTRACT.environment


def test_the_metrics_are_those_of_the_server():
    assert sorted(re.findall(r"^# TYPE (\S+)", (RECORDED / "metrics.txt").read_text(), re.M)) == sorted(CONTRACT.metrics)


def test_routes_are_open_or_closed_as_the_server_has_them():
    statuses = {name: {path(route): status for route, (status, _) in answers.items()} for name, answers in ROUTES.items()}
    closed = {route for route, status in statuses["without a key"].items() if status == 401}
    assert closed == {route for route, status in statuses["with a wrong key"].items() if status == 401}
    assert set(CONTRACT.keyed) <= closed and not closed & set(CONTRACT.unkeyed)
    assert set(CONTRACT.unkeyed) <= statuses["with the key"].keys()
    assert statuses["loading, with the key"]["/health"] == 503 and statuses["without a key"]["/health"] == 200


def test_what_was_recorded_was_started_as_the_role_starts_it():
    arguments = json.loads((RECORDED / "arguments.json").read_text())
    role = yaml.safe_load((REPOSITORY / "roles/llama_cpp/vars/main.yml").read_text())
    assert {argument for argument in arguments if argument.startswith("--")} <= {*role["llama_cpp_options"], *role["llama_cpp_switches"]}
