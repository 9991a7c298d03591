# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

NEWEST, OLD = "1.34.4", "1.32.9"  # of those that the stand-in offers
ADDONS = ["exoscale-cloud-controller", "exoscale-container-storage-interface", "metrics-server"]


@pytest.fixture
def cluster(exoscale):
    """Run the module for the cluster llm."""
    return lambda check=False, **options: exoscale("sks_cluster", check, **({"name": "llm"} | options))


def pool(exoscale, **options):
    return exoscale("sks_nodepool", cluster="llm", name="default", instance_type="standard.small", size=1, **options)


def test_a_cluster_is_made_once(cluster, exoscale_server):
    made = cluster()
    assert made["changed"] and made["writes"] == ["create-sks-cluster"]
    about = made["cluster"]
    assert (about["version"], about["level"], about["cni"], about["addons"]) == (NEWEST, "starter", "calico", ADDONS)
    assert about["state"] == "running" and about["id"] in about["endpoint"]
    assert made["diff"]["before"] == {} and made["diff"]["after"].items() <= about.items()
    again = cluster(level="starter", cni="calico")
    assert not again["changed"] and "diff" not in again and again["cluster"] == about
    assert again["calls"] == {"list-zones": 1, "list-sks-clusters": 1}


def test_check_mode_says_what_would_be_and_writes_nothing(cluster):
    planned = cluster(check=True)
    assert planned["changed"] and not planned["writes"] and "cluster" not in planned
    made = cluster()
    assert planned["diff"] == made["diff"]
    planned = cluster(check=True, description="for models")
    assert planned["changed"] and not planned["writes"] and planned["cluster"] == made["cluster"]
    assert cluster(check=True, state="absent")["changed"]
    assert not cluster(check=True)["changed"]


def test_an_edit_changes_exactly_that(cluster):
    cluster(description="before")
    edited = cluster(description="", addons=["metrics-server", "karpenter"], auto_upgrade=True)
    assert edited["writes"] == ["update-sks-cluster"]
    before, after = edited["diff"]["before"], edited["diff"]["after"]
    assert {name for name in after if after[name] != before[name]} == {"description", "addons", "auto_upgrade"}
    assert edited["cluster"]["description"] == "" and edited["cluster"]["addons"] == ["karpenter", "metrics-server"]
    kept = cluster(addons=["karpenter", "metrics-server"])
    assert not kept["changed"] and kept["cluster"] == edited["cluster"]


def test_an_upgrade_is_asked_for_and_goes_by_one_minor_version(cluster):
    cluster(version=OLD)
    assert not cluster()["changed"]  # an absent version never upgrades
    far = cluster(version="1.34")
    assert far["failed"] and 'set version to "1.33" first' in far["msg"] and not far["writes"]
    next_one = cluster(version="1.33")
    assert next_one["writes"] == ["upgrade-sks-cluster"] and next_one["cluster"]["version"] == "1.33.5"
    assert not cluster(version="1.33")["changed"] and not cluster(version="1.33.5")["changed"]
    lower = cluster(version=OLD)
    assert lower["failed"] and "cannot be lowered" in lower["msg"]


def test_a_patch_that_auto_upgrade_brought_is_accepted(cluster):
    cluster(version=NEWEST)
    assert "cannot be lowered" in cluster(version="1.34.1")["msg"]
    cluster(auto_upgrade=True)
    assert not cluster(version="1.34.1")["changed"]


def test_the_level_only_goes_up(cluster):
    cluster()
    assert cluster(level="pro")["writes"] == ["upgrade-sks-cluster-service-level"]
    lower = cluster(level="starter")
    assert lower["failed"] and "cannot be lowered" in lower["msg"] and not lower["writes"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cni": "cilium"}, "only a new cluster, with new node pools, can have cilium"),
        ({"version": "1.35"}, "it offers 1.34.4"),
        ({"version": "newest"}, 'not of the form "1.34.1" or "1.34"'),
    ],
)
def test_what_cannot_be_changed_is_refused_before_anything_is_written(cluster, options, sentence):
    cluster()
    refused = cluster(**options, description="new")
    assert refused["failed"] and sentence in refused["msg"] and not refused["writes"]


def test_a_version_that_is_not_offered_makes_no_cluster(cluster):
    refused = cluster(version="1.20")
    assert refused["failed"] and "does not offer version 1.20" in refused["msg"] and not refused["writes"]


def test_a_cluster_with_pools_is_deleted_with_force_only(cluster, exoscale):
    cluster()
    pool(exoscale)
    for check in (True, False):
        refused = cluster(check, state="absent")
        assert refused["failed"] and "node pools default" in refused["msg"] and not refused["writes"]
    assert cluster(state="absent", force=True)["writes"] == ["delete-sks-nodepool", "delete-sks-cluster"]
    assert not cluster(state="absent")["changed"]


def test_two_clusters_of_one_name_are_told_apart_by_nobody(cluster, exoscale_server):
    cluster()
    exoscale_server.faults.append({"operation": "list-sks-clusters", "set": {"sks-clusters": []}, "times": 1})
    doubled = cluster()
    assert doubled["failed"] and "2 clusters named llm" in doubled["msg"]


def test_a_broken_cluster_is_shown_and_can_be_removed(cluster, exoscale_server):
    exoscale_server.faults.append({"operation": "create-sks-cluster", "ends": "failure", "reason": "fault"})
    failed = cluster()
    assert failed["failed"] and "state failure (fault" in failed["msg"]
    exoscale_server.heal()
    shown = cluster()
    assert shown["failed"] and "state error" in shown["msg"] and not shown["writes"]
    assert cluster(state="absent")["changed"] and cluster()["changed"]
