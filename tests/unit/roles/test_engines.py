# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine roles pass, against the tables of the engines' pinned versions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS

REPOSITORY = Path(__file__).parents[3]


def read(engine: str, part: str) -> dict:
    return yaml.safe_load((REPOSITORY / f"roles/{engine}/{part}/main.yml").read_text())


@pytest.mark.parametrize("engine", CONTRACTS)
def test_the_default_image_is_of_the_tables_version(engine):
    assert read(engine, "defaults")[f"{engine}_image"].endswith(CONTRACTS[engine].version)


@pytest.mark.parametrize("engine", ["llama_cpp", "vllm"])
def test_the_options_are_the_engines_and_take_what_they_get(engine):
    flags, variables = CONTRACTS[engine].flags, read(engine, "vars")
    options, switches = variables[f"{engine}_options"], variables.get(f"{engine}_switches", {})
    assert {name: flags.get(name) for name in options} == {name: -1 if name == "--served-model-name" else 1 for name in options}
    assert {name: flags.get(name) for name in switches} == dict.fromkeys(switches, 0)


@pytest.mark.parametrize("engine", CONTRACTS)
def test_what_a_role_sets_nobody_else_may(engine):
    contract, variables = CONTRACTS[engine], read(engine, "vars")
    parts = [variables.get(f"{engine}_{part}", {}) for part in ("options", "switches", "environment")]
    names = {name for part in parts for name in part}
    names |= {entry["name"] for entry in variables.get(f"{engine}_key_environment", ())}
    assert names <= contract.ours.keys()


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_the_environment_is_read_by_the_engine(engine):
    contract, variables = CONTRACTS[engine], read(engine, "vars")
    names = {*variables[f"{engine}_environment"], *(entry["name"] for entry in variables[f"{engine}_key_environment"])}
    unknown = {name for name in names - contract.environment if not name.startswith(contract.prefixes)}
    assert unknown <= {"HOME", "USER"}


def test_the_roles_differ_in_their_engines_part_alone():
    for part in ("tasks", "meta"):
        texts = {(REPOSITORY / f"roles/{engine}/{part}/main.yml").read_text() for engine in CONTRACTS}
        lines = [set(text.splitlines()) for text in texts]
        assert all(len(one - other) <= 1 for one in lines for other in lines), part
