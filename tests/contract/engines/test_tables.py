# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines' tables against themselves and against the roles: what a role passes is what the pinned version knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.engines.contract import COMMON, COMMON_PREFIXES

ROLES = Path(__file__).resolve().parents[3] / "roles"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")

every_engine = pytest.mark.parametrize("engine", CONTRACTS)


def read(engine: str, part: str) -> dict:
    return yaml.safe_load((ROLES / engine / part / "main.yml").read_text())


def documented(role: str) -> set[str]:
    return set(yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"])


def passed(engine: str) -> tuple[set[str], set[str]]:
    """The options and environment variables that a role sets: words like --option, keys of <engine>_environment, and names in lists."""
    variables = {name: value for name, value in read(engine, "vars").items() if name.startswith(f"{engine}_")}
    variables[f"{engine}_server"].pop("convert", None)  # the converter is another program
    text = yaml.safe_dump(variables, width=1000)
    names = {entry["name"] for entry in dictionaries(variables) if {"value", "valueFrom"} & entry.keys()}
    return set(OPTION.findall(text)), names | set(variables.get(f"{engine}_environment", ()))


def dictionaries(value):
    """All dictionaries within a value of YAML, and itself."""
    if isinstance(value, dict):
        yield value
    for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from dictionaries(inner)


@every_engine
def test_the_default_image_is_of_the_tables_version(engine):
    tag = read(engine, "defaults")[f"{engine}_image"].rpartition(":")[2]
    assert tag.removeprefix("server-cuda-") == CONTRACTS[engine].version


@every_engine
def test_a_role_sets_what_the_engine_knows_and_what_nobody_may_add(engine):
    contract = CONTRACTS[engine]
    options, environment = passed(engine)
    assert options | environment, "nothing was found in the role"
    assert options <= contract.flags.keys(), options - contract.flags.keys()
    known = {name for name in environment if name in contract.environment | COMMON or name.startswith(contract.prefixes + COMMON_PREFIXES)}
    assert environment - known <= {"HOME", "USER"}, "the engine does not read them"
    assert options | environment <= contract.ours.keys(), (options | environment) - contract.ours.keys()


@every_engine
def test_what_decides_is_a_variable(engine):
    variables = documented("llm") | documented(engine) | {"inventory_hostname", ""}
    assert set(CONTRACTS[engine].ours.values()) <= variables, set(CONTRACTS[engine].ours.values()) - variables


@every_engine
def test_a_table_does_not_contradict_itself(engine):
    contract = CONTRACTS[engine]
    assert {name for name in contract.ours if name.startswith("-")} <= contract.flags.keys()
    assert not contract.removed.keys() & contract.flags.keys()
    assert not contract.removed.keys() & contract.ours.keys()
    instead = {name for text in contract.removed.values() for name in OPTION.findall(text) if "{" not in name and not name.endswith("-")}
    assert instead <= contract.flags.keys(), instead - contract.flags.keys()
    assert not set(contract.keyed) & set(contract.unkeyed)
    assert len(set(contract.metrics)) == len(contract.metrics)
    assert all(re.fullmatch(r"[a-z_:][a-z0-9_:]*", metric) for metric in contract.metrics)
    assert all(re.fullmatch(r"--?[A-Za-z][A-Za-z0-9.-]*", flag) for flag in contract.flags)
    assert all(values in (-1, 0, 1, 2) for values in contract.flags.values())
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in contract.environment)
