# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' rules as the role writes them by default, checked and tested by promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.rules.promtool import promtool
from tests.rules.render import RULES, rendered

HERE = Path(__file__).parent
TESTS = sorted(HERE.glob("*_test.yml.j2"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """Where rules and tests are rendered beside each other."""
    place = tmp_path_factory.mktemp("rules")
    for path in (*RULES, *TESTS):
        (place / path.stem).write_text(rendered(path))
    return place


def rules(kind: str) -> set[str]:
    """The names of all rules of a kind, ``alert`` or ``record``."""
    groups = (group for path in RULES for group in yaml.safe_load(rendered(path))["groups"])
    return {rule[kind] for group in groups for rule in group["rules"] if kind in rule}


def cases() -> list[dict]:
    """promtool's tests of all files."""
    return [case for path in TESTS for case in yaml.safe_load(rendered(path))["tests"]]


def run(*arguments: str | Path, cwd: Path) -> None:
    done = subprocess.run([promtool(), *arguments], cwd=cwd, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr


def test_rules_are_valid(directory):
    run("check", "rules", "--lint=all", "--lint-fatal", *(path.stem for path in RULES), cwd=directory)


@pytest.mark.parametrize("name", [path.stem for path in TESTS])
def test_rules_hold(directory, name):
    run("test", "rules", name, cwd=directory)


def test_every_recording_rule_is_tested():
    tested = {test["expr"] for case in cases() for test in case.get("promql_expr_test", ()) if test["exp_samples"]}
    assert not rules("record") - tested


def test_every_alert_fires_and_resolves_and_nearly_fires():
    fires, resolves, nearly = set(), set(), set()
    for case in cases():
        tests = case.get("alert_rule_test", ())
        for name in {test["alertname"] for test in tests}:  # whose tests stand in the order of time
            seen = [bool(test["exp_alerts"]) for test in tests if test["alertname"] == name]
            if any(seen):
                fires.add(name)
                if not seen[-1]:
                    resolves.add(name)
            else:
                nearly.add(name)
    assert fires == resolves == nearly == rules("alert")
