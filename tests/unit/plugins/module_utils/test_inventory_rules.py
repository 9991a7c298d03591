# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.inventory_rules import (
    Source,
    engine_of,
    engineer_of,
    problems,
)

ALICE = {"all": ["alice-chat"], "engineer_alice": ["alice-chat"], "llama_cpp": ["alice-chat"]}
BOB = {"all": ["bob-chat"], "engineer_bob": ["bob-chat"], "tgi": ["bob-chat"]}


def check(*sources: Source, merged: dict | None = None) -> list[str]:
    groups: dict[str, list[str]] = {}
    for source in sources:
        for group, hosts in source.groups.items():
            for host in hosts:
                groups.setdefault(host, []).append(group)
    return problems(list(sources), groups if merged is None else merged)


def test_two_engineers_side_by_side_are_fine():
    platform = Source("platform", {"all": ["c1"], "sks_clusters": ["c1"]}, {})
    assert check(platform, Source("alice", ALICE, {}), Source("bob", BOB, {})) == []


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"engineer_alice": ["alice-a"]}, "alice-a in alice is in no engine group: put it under llama_cpp or tgi or vllm."),
        (
            {"engineer_alice": ["alice-a"], "llama_cpp": ["alice-a"], "tgi": ["alice-a"]},
            "alice-a in alice is in two engine groups, llama_cpp and tgi",
        ),
        ({"llama_cpp": ["alice-a"]}, "is in no engineer group"),
        (
            {"engineer_alice": ["alice-a"], "engineer_bob": ["alice-a"], "tgi": ["alice-a"]},
            "is in the engineer groups engineer_alice and engineer_bob",
        ),
        ({"engineer_alice": ["bob-a"], "tgi": ["bob-a"]}, "a deployment's name starts with alice-"),
        ({"engineer_alice": ["alice-A"], "tgi": ["alice-A"]}, "a deployment's name starts with alice-"),
        ({"engineer_alice": ["alice-" + "a" * 40], "tgi": ["alice-" + "a" * 40]}, "at most 40 characters"),
        ({"engineer_al_ice": ["al-a"], "tgi": ["al-a"]}, "engineer_ and a name of lowercase letters and digits"),
    ],
)
def test_a_misplaced_host_is_named_with_its_file(groups, says):
    (sentence,) = check(Source("alice", groups, {}))
    assert says in sentence


def test_a_host_in_two_directories_names_both():
    (sentence,) = check(Source("one", ALICE, {}), Source("two", ALICE, {}))
    assert sentence.startswith("alice-chat is defined in one and in two")


def test_variables_that_would_reach_every_engineer_are_refused():
    source = Source("alice", ALICE, {"all": {"llm_hf_token": "alice/group_vars/all.yml", "colour": "alice/group_vars/all.yml"}})
    (sentence,) = check(source)
    assert "llm_hf_token is set for group all in alice/group_vars/all.yml" in sentence


def test_an_engine_group_below_an_engineer_would_pull_in_the_others():
    alice, bob = Source("alice", ALICE, {}), Source("bob", BOB, {})
    merged = {"alice-chat": ["engineer_alice", "engineer_bob", "llama_cpp"], "bob-chat": ["engineer_bob", "tgi"]}
    (sentence,) = check(alice, bob, merged=merged)
    assert sentence.startswith("alice-chat in alice becomes a member of engineer_bob together with bob")


def test_names_come_from_groups():
    assert engineer_of(["all", "engineer_alice", "tgi"]) == "alice"
    assert engineer_of(["engineer_alice", "engineer_bob"]) is None
    assert engine_of(["engineer_alice", "tgi"]) == "tgi"
    assert engine_of(["llama_cpp", "tgi"]) is None
