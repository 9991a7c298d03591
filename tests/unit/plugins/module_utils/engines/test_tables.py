# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines' tables against themselves; tests/unit/roles holds them against the roles, and tests/e2e against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.engines.contract import options

ROLES = Path(__file__).resolve().parents[5] / "roles"


def documented(role: str) -> set[str]:
    """The variables of a role."""
    return set(yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"])


@pytest.mark.parametrize("engine", CONTRACTS)
def test_what_decides_is_a_variable(engine):
    deciding = set(CONTRACTS[engine].ours.values()) - {"inventory_hostname", ""}
    assert deciding <= documented("llm") | documented(engine)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_table_does_not_contradict_itself(contract):
    assert {name for name in contract.ours if name.startswith("-")} <= contract.flags.keys()
    assert not contract.removed.keys() & (contract.flags.keys() | contract.ours.keys())
    instead = {name for text in contract.removed.values() for name in re.findall(r"--[a-z-]+(?![{a-z-])", text)}
    assert instead <= contract.flags.keys()
    assert not set(contract.keyed) & set(contract.unkeyed)
    assert len(set(contract.metrics)) == len(contract.metrics)
    assert set(contract.flags.values()) <= {-1, 0, 1, 2}


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_table_has_names_of_the_right_form(contract):
    assert all(re.fullmatch(r"--?[A-Za-z][A-Za-z0-9.-]*", flag) for flag in contract.flags)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in contract.environment)
    assert all(re.fullmatch(r"[a-z0-9_:]+", metric) for metric in contract.metrics)
    assert all(route.startswith("/") for route in contract.keyed + contract.unkeyed)


def test_a_switch_has_a_twin():
    assert options(none="-v", one="--x", many="--y", switches="--z") == {"-v": 0, "--x": 1, "--y": -1, "--z": 0, "--no-z": 0}
