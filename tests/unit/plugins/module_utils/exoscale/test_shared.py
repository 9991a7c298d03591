# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections import Counter

import pytest

ONCE = {"list-zones": 1, "list-sks-clusters": 1, "list-instance-types": 1}
CLUSTER = {"name": "llm"}
SYSTEM = {"cluster": "llm", "name": "system", "instance_type": "standard.medium", "size": 1}
GPU = {"cluster": "llm", "name": "gpu", "instance_type": "gpu3.small", "size": 2}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def sharing(exoscale, folder):
    """Run a module that shares."""
    return lambda module, check=False, **options: exoscale(module, check, shared_lists=str(folder), **options)


@pytest.fixture
def platform(tmp_path):
    """Run the six modules of a platform run with the function given; returns whether any changed something, and the calls."""

    def run(module, check=False) -> tuple[bool, dict]:
        users = [{"cluster": "llm", "user": user, "groups": [user], "dest": str(tmp_path / user)} for user in ("admin", "alice", "bob")]
        results = [
            module("sks_cluster", check, **CLUSTER),
            *(module("sks_nodepool", check, **pool) for pool in (SYSTEM, GPU)),
            *(module("sks_kubeconfig", check, **user) for user in users),
        ]
        return any(result["changed"] for result in results), sum((Counter(result["calls"]) for result in results), Counter())

    return run


def test_a_run_without_changes_asks_for_each_list_once(exoscale, sharing, platform, folder):
    assert platform(sharing)[0]
    for check in (False, True):
        assert platform(exoscale, check) == (False, {"list-zones": 6, "list-sks-clusters": 6, "list-instance-types": 2})
    sharing("sks_cluster", description="a change, which removes what is shared", **CLUSTER)
    assert platform(sharing) == (False, ONCE)
    assert platform(sharing, check=True) == (False, {})
    files = list(folder.iterdir())
    assert len(files) == 3 and {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert not any(word in file.read_text() + file.name for file in files for word in ("EXOsandbox", "secret-of-the-sandbox"))


def test_a_write_is_seen_by_the_next_module(sharing, folder, tmp_path):
    assert sharing("sks_cluster", **CLUSTER)["changed"] and not folder.exists()
    dest = {"dest": str(tmp_path / "alice")}
    assert sharing("sks_kubeconfig", cluster="llm", user="alice", groups=["llm:alice"], **dest)["changed"] and folder.exists()
    assert sharing("sks_nodepool", **GPU)["changed"] and not folder.exists()
    assert sharing("sks_cluster", **CLUSTER)["cluster"]["nodepools"] == ["gpu"]
    assert sharing("sks_nodepool", **GPU | {"size": 3})["changed"]
    again = sharing("sks_nodepool", **GPU | {"size": 3})
    assert not again["changed"] and again["nodepool"]["size"] == 3


def test_nothing_is_changed_or_refused_for_a_list_out_of_date(exoscale, sharing, tmp_path):
    def before(module: str, **options) -> None:
        """Let a list be shared, and something that does not share change what is there."""
        exoscale("sks_cluster", name="other")
        sharing("sks_cluster", name="other")
        exoscale(module, **options)

    before("sks_cluster", **CLUSTER)
    alice = {"user": "alice", "groups": ["llm:alice"], "dest": str(tmp_path / "alice")}
    assert sharing("sks_kubeconfig", cluster="llm", **alice)["changed"]
    before("sks_nodepool", **GPU)
    made = sharing("sks_nodepool", **GPU)
    assert not made["changed"] and made["calls"]["list-sks-clusters"] == 1
    before("sks_nodepool", **GPU | {"size": 3})
    assert sharing("sks_nodepool", **GPU | {"size": 4})["diff"]["before"]["size"] == 3
    before("sks_cluster", state="absent", force=True, **CLUSTER)
    missing = sharing("sks_kubeconfig", cluster="llm", **alice | {"user": "bob"})
    assert missing["failed"] and missing["msg"].startswith("There is no cluster llm in de-fra-1.")


def test_what_still_changes_is_waited_for(exoscale, sharing, folder):
    exoscale("sks_cluster", **CLUSTER)
    sharing("sks_cluster", **CLUSTER)
    (file,) = folder.glob("list-sks-clusters-*")
    answer = json.loads(file.read_text())
    answer["sks-clusters"][0]["state"] = "updating"
    file.write_text(json.dumps(answer))
    waited = sharing("sks_cluster", **CLUSTER)
    assert (waited["cluster"]["state"], waited["calls"]) == ("running", {"list-sks-clusters": 1})
    assert sharing("sks_cluster", **CLUSTER)["calls"] == {}


def test_others_share_nothing(exoscale, sharing):
    for zone in ("de-fra-1", "at-vie-1"):
        exoscale("sks_cluster", zone=zone, **CLUSTER)
        assert sharing("sks_cluster", zone=zone, **CLUSTER)["calls"] == {"list-zones": 1, "list-sks-clusters": 1}
    stranger = sharing("sks_cluster", api_key="EXOstranger", api_secret="another", **CLUSTER)
    assert stranger["failed"] and stranger["calls"]["list-sks-clusters"] == 1


def test_files_that_are_no_use_are_passed_over(exoscale, sharing, folder):
    exoscale("sks_cluster", **CLUSTER)
    sharing("sks_cluster", **CLUSTER)
    for file in folder.iterdir():
        file.write_text("{")
    assert sharing("sks_cluster", **CLUSTER)["calls"] == {"list-zones": 1, "list-sks-clusters": 1}
    assert sharing("sks_cluster", **CLUSTER)["calls"] == {}
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("no folder")
    assert not sharing("sks_cluster", **CLUSTER)["changed"]
