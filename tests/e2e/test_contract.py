# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of llama.cpp against the real llama-server that the demo runs."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS

CONTRACT = CONTRACTS["llama_cpp"]
IN_POD = ("kubectl", "-n", "llm-alice", "exec", "deploy/alice-chat", "--")


@pytest.fixture(scope="module")
def inside(environment):
    """Run a command in the pod of alice-chat; returns what it prints."""

    def inside(*command: str) -> str:
        result = subprocess.run([*IN_POD, *command], env=environment, capture_output=True, text=True, timeout=60)
        return result.stdout + result.stderr

    return inside


@pytest.fixture(scope="module")
def arguments(environment) -> list[str]:
    """The command line that the role rendered."""
    command = ["kubectl", "-n", "llm-alice", "get", "deployment", "alice-chat", "-o", "json"]
    deployment = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    return deployment["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.fixture(scope="module")
def options(inside) -> dict[str, tuple[int, bool]]:
    """What ``llama-server --help`` lists: how many values each option takes, and whether it has been removed."""
    found = {}
    for entry in re.split(r"\n(?=-)", inside("llama-server", "--help")):
        header = re.split(r"\s{2,}", re.sub(r",[ ]+", ", ", entry))[0]
        names = re.findall(r"(?<!\S)--?[A-Za-z][\w.-]*", header)
        values = re.sub(r"(?<!\S)--?[A-Za-z][\w.-]*,?", "", header).strip()
        found |= dict.fromkeys(names, (2 if values == "START END" else int(bool(values)), "the argument has been removed" in entry))
    return found


def test_the_server_takes_what_the_role_passes(options, arguments):
    passed = {argument for argument in arguments if argument.startswith("--")}
    assert passed and not passed - options.keys() and not [name for name in passed if options[name][1]]


def test_the_table_is_what_help_says(options):
    assert len(options) > 300
    assert {name: (CONTRACT.flags[name], False) for name in CONTRACT.flags.keys() & options.keys()} == {
        name: options[name] for name in CONTRACT.flags.keys() & options.keys()
    }
    assert {name for name, (_values, removed) in options.items() if removed} <= CONTRACT.removed.keys()


@pytest.fixture(scope="module")
def key(arguments) -> str:
    """wget's option that brings the key, of which only the pod learns."""
    return f'--header "Authorization: Bearer $(head -n 1 {arguments[arguments.index("--api-key-file") + 1]})"'


def test_the_key_guards_what_the_table_says(inside, key):
    def status(route: str, *headers: str) -> str:
        said = inside("sh", "-c", f'wget -S -O /dev/null {" ".join(headers)} http://127.0.0.1:8080{route} 2>&1')
        return re.search(r"HTTP/1.1 (\d+)", said)[1]

    assert {route: status(route) for route in CONTRACT.keyed} == dict.fromkeys(CONTRACT.keyed, "401")
    assert "401" not in [status(route, key) for route in CONTRACT.keyed] + [status(route) for route in CONTRACT.unkeyed]
    assert status("/v1/models", key) == status("/health") == "200"


def test_the_metrics_are_there(inside, key):
    said = inside("sh", "-c", f"wget -q -O - {key} http://127.0.0.1:8080/metrics")
    assert set(CONTRACT.metrics) <= set(re.findall(r"^# TYPE (\S+)", said, re.MULTILINE))
