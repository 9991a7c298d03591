# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

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
    assert lower["failed"] and "has version 1.33.5, which cannot be changed to 1.32.9" in lower["msg"]


def test_a_patch_that_auto_upgrade_brought_is_accepted(cluster):
    cluster(version=NEWEST)
    assert "cannot be changed to 1.34.1" in cluster(version="1.34.1")["msg"]
    cluster(auto_upgrade=True)
    assert not cluster(version="1.34.1")["changed"]


def test_the_level_only_goes_up(cluster):
    cluster()
    assert cluster(level="pro")["writes"] == ["upgrade-sks-cluster-service-level"]
    lower = cluster(level="starter")
    assert lower["failed"] and "has level pro, which cannot be changed to starter" in lower["msg"] and not lower["writes"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cni": "cilium"}, "has cni calico, which cannot be changed to cilium: for that, delete and make anew the cluster."),
        ({"enable_kube_proxy": False}, "has enable_kube_proxy True, which cannot be changed to False"),
        ({"default_security_group": False}, "has default_security_group True, which cannot be changed"),
        ({"oidc": {"client_id": "x"}}, "oidc of llm needs client_id and issuer_url"),
        ({"oidc": {"groups_claim": "x"}}, "oidc of llm needs client_id and issuer_url"),
        ({"audit": {"endpoint": "https://a"}}, "audit of llm is new: it needs endpoint and bearer_token"),
        ({"audit": {"bearer_token": "hush"}}, "audit of llm is new: it needs endpoint and bearer_token"),
        ({"version": "1.35"}, "it offers 1.34.4"),
        ({"version": "newest"}, 'not of the form "1.34.1" or "1.34"'),
    ],
)
def test_what_cannot_be_changed_is_refused_before_anything_is_written(cluster, options, sentence):
    cluster()
    refused = cluster(**options, description="new")
    assert refused["failed"] and sentence in refused["msg"] and not refused["writes"]


def test_what_would_have_to_be_made_anew_is_named_with_its_pools(cluster, exoscale):
    cluster()
    pool(exoscale)
    assert cluster(cni="cilium")["msg"].endswith("delete and make anew the cluster and its node pools default.")


# Options, another value of theirs, and what they are when they are cleared; None where that is not to be had.
CHANGES = [
    ({"labels": {"team": "llm", "cost": 7, "shared": True}}, {"labels": {"team": "other"}}, {"labels": {}}),
    ({"feature_gates": ["B", "A"]}, {"feature_gates": ["C"]}, {"feature_gates": []}),
    ({"oidc": {"client_id": "a", "issuer_url": "https://a", "required_claim": {"x-y": True}}},
     {"oidc": {"client_id": "b", "required_claim": {}, "groups_prefix": "c:"}}, {"oidc": {}}),
    ({"audit": {"endpoint": "https://a", "bearer_token": "hush-a"}},
     {"audit": {"endpoint": "https://b", "initial_backoff": "20s"}}, {"audit": {"enabled": False}}),
    ({"enable_operators_ca": False}, {"enable_operators_ca": True}, None),
]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("first", "second", "cleared"), CHANGES)
def test_each_option_is_set_changed_and_cleared(cluster, first, second, cleared, at_once):
    if not at_once:
        cluster()
    for options in filter(None, (first, second, cleared)):
        planned, made = cluster(check=True, **options), cluster(**options)
        assert planned["diff"] == made["diff"] and made["changed"] and not planned["writes"]
        assert set(made["writes"]) <= {"create-sks-cluster", "update-sks-cluster"}
        assert "hush" not in json.dumps(made)
        assert not cluster(**options)["changed"] and not cluster()["changed"]  # what is not given stays
        after = made["diff"]["after"]
        [name] = options
        assert not made["diff"]["before"] or {key for key in after if after[key] != made["diff"]["before"][key]} == {name}
        shown = cluster()["cluster"][name]
    assert shown == {"audit": {"enabled": False, "endpoint": "https://b", "initial_backoff": "20s"},
                     "enable_operators_ca": True, "feature_gates": [], "labels": {}, "oidc": {}}[name]


def test_an_empty_suboption_is_removed_and_others_stay(cluster):
    cluster(oidc={"client_id": "a", "issuer_url": "https://a", "groups_claim": "g", "required_claim": {"x-y": "z"}})
    edited = cluster(oidc={"groups_claim": "", "username_claim": "u"})
    assert edited["cluster"]["oidc"] == {
        "client_id": "a", "issuer_url": "https://a", "username_claim": "u", "required_claim": {"x-y": "z"}}


def test_the_token_of_the_audit_is_sent_again_when_asked_for_and_never_shown(cluster, exoscale_server, monkeypatch):
    sent = []
    fields = exoscale_server.organisation.update_sks_cluster
    monkeypatch.setattr(
        exoscale_server.organisation, "update_sks_cluster", lambda request: sent.append(request.body) or fields(request))
    audit = {"endpoint": "https://a", "bearer_token": "hush-one"}
    assert cluster(audit=audit | {"update_token": True})["writes"] == ["create-sks-cluster"]
    audit["bearer_token"] = "hush-two"
    assert not cluster(audit=audit)["changed"]
    renewed = cluster(audit=audit | {"update_token": True})
    assert renewed["writes"] == ["update-sks-cluster"] and sent[0]["audit"]["bearer-token"] == "hush-two"
    assert renewed["diff"]["after"]["audit"]["bearer_token"] == "another" and "hush" not in json.dumps(renewed)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"cni": "cilium"}, {"cni": "cilium", "enable_kube_proxy": False}),
        ({"cni": "cilium", "enable_kube_proxy": True}, {"enable_kube_proxy": True}),
        ({"enable_kube_proxy": False}, {"enable_kube_proxy": False}),
        ({"default_security_group": False}, {"default_security_group": False, "default_security_group_id": None}),
        ({"audit": {"enabled": False}}, {"audit": {}}),
    ],
)
def test_what_only_a_new_cluster_can_have(cluster, options, shown):
    made = cluster(**options)
    assert made["cluster"].items() >= shown.items()
    assert not cluster(**options)["changed"]


def test_addresses_of_a_new_cluster_reach_it(cluster, exoscale_server, monkeypatch):
    asked = []
    create = exoscale_server.organisation.create_sks_cluster
    monkeypatch.setattr(
        exoscale_server.organisation, "create_sks_cluster", lambda request: asked.append(request.body) or create(request))
    networking = {"cluster_cidr": "10.1.0.0/16", "node_cidr_mask_size_ipv4": 25}
    cluster(networking=networking)
    assert asked[0]["networking"] == {"cluster-cidr": "10.1.0.0/16", "node-cidr-mask-size-ipv4": 25}
    assert not cluster(networking=networking)["changed"]


def test_certificates_of_its_authorities_are_returned_when_asked_for(cluster):
    cluster()
    asked = cluster(ca_certificates=True)
    assert not asked["changed"] and asked["calls"]["get-sks-cluster-authority-cert"] == 3
    certificates = asked["cluster"]["ca_certificates"]
    assert set(certificates) == {"aggregation", "control_plane", "kubelet"}
    assert all(text.startswith("-----BEGIN CERTIFICATE-----") for text in certificates.values())


def test_a_cluster_is_taken_over_by_its_id_too(cluster):
    about = cluster(description="made elsewhere")["cluster"]
    taken = cluster(name=about["id"], description="ours")
    assert taken["writes"] == ["update-sks-cluster"] and taken["cluster"] == about | {"description": "ours"}
    assert cluster(name=about["id"], state="absent")["changed"]
    gone = cluster(name=about["id"])
    assert gone["failed"] and "a new one needs a name instead of an id" in gone["msg"] and not gone["writes"]


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
