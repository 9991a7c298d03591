# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that only show what there is."""

from __future__ import annotations

import pytest

GPU = {"cluster": "llm", "name": "gpu", "instance_type": "gpu3.small", "size": 2, "labels": {"role": "llm"}}
NONE = "00000000-0000-4000-8000-000000000000"


def test_what_clusters_there_are(exoscale):
    assert exoscale("sks_cluster_info")["clusters"] == []
    first, second = (exoscale("sks_cluster", name=name)["cluster"] for name in ("llm", "other"))
    shown = exoscale("sks_cluster_info")
    assert not shown["changed"] and shown["clusters"] == [first, second]
    assert shown["calls"] == {"list-zones": 1, "list-sks-clusters": 1}
    for name in ("llm", first["id"]):
        assert exoscale("sks_cluster_info", check=True, name=name)["clusters"] == [first]
    assert exoscale("sks_cluster_info", name="none")["clusters"] == []
    [certified] = exoscale("sks_cluster_info", name="other", ca_certificates=True)["clusters"]
    assert certified == exoscale("sks_cluster", name="other", ca_certificates=True)["cluster"]


def test_what_pools_there_are(exoscale):
    assert exoscale("sks_nodepool_info", cluster="llm")["nodepools"] == []
    exoscale("sks_cluster", name="llm")
    assert exoscale("sks_nodepool_info", cluster="llm")["nodepools"] == []
    exoscale("sks_nodepool", cluster="llm", name="plain", instance_type="standard.small", size=1)
    made = exoscale("sks_nodepool", **GPU)["nodepool"]
    shown = exoscale("sks_nodepool_info", cluster="llm")
    assert not shown["changed"] and [pool["name"] for pool in shown["nodepools"]] == ["plain", "gpu"]
    [pool] = exoscale("sks_nodepool_info", check=True, cluster="llm", name=made["id"])["nodepools"]
    nodes = pool.pop("nodes")
    assert pool == made and [set(node) for node in nodes] == [{"id", "name", "state"}] * 2
    assert all(node["name"].startswith("pool-") and node["state"] == "running" for node in nodes)
    assert exoscale("sks_nodepool_info", cluster="llm", name="none")["nodepools"] == []
    exoscale("sks_nodepool", **GPU | {"size": 0, "allow_shrink": True})
    assert exoscale("sks_nodepool_info", cluster="llm", name="gpu")["nodepools"][0]["nodes"] == []


def test_what_gpu_nodes_can_be_had(exoscale, exoscale_server):
    exoscale("sks_cluster", name="llm")
    exoscale("sks_nodepool", **GPU)
    shown = exoscale("gpu_offer_info")
    assert not shown["changed"] and shown["calls"] == {"list-zones": 1, "list-instance-types": 1, "list-quotas": 1}
    small, medium, large, huge = shown["offers"]
    assert small == {
        "instance_type": "gpu3.small", "gpu": "A40", "gpus": 1, "gpu_memory_mib": 45404, "cpus": 12, "memory_gib": 56.0,
        "eur_per_hour": 1.0453, "authorised": True, "quota": {"limit": 4, "used": 2, "left": 2}, "obstacle": None,
    }  # fmt: skip
    assert medium["obstacle"] is None and (large["gpus"], huge["gpus"]) == (4, 8)
    assert large["obstacle"] == (
        "1 more gpu3.large need 4 of your organisation's quota gpu3, of which 2 of 4 are used: ask Exoscale's support to "
        "raise it to 6."
    )
    exoscale_server.faults.append({"operation": "list-quotas", "set": {"quotas.limit": -1}})
    assert exoscale("gpu_offer_info")["offers"][0]["quota"] == {"limit": None, "used": 2, "left": None}
    exoscale_server.faults.append({"operation": "list-quotas", "set": {"quotas": []}})
    assert exoscale("gpu_offer_info")["offers"][0]["quota"] is None


def test_what_an_organisation_is_not_authorised_for_is_shown_with_the_cure(exoscale, exoscale_server):
    authorised = exoscale("gpu_offer_info")["offers"]
    exoscale_server.faults.append({"quota": {"gpu3": 0}})
    offers = exoscale("gpu_offer_info")["offers"]
    assert [offer["obstacle"] for offer in offers[:2]] == [
        f"Your organisation is not authorised for gpu3 in de-fra-1: ask Exoscale's support for a quota of {count} gpu3."
        for count in (1, 2)
    ]
    for offer, other in zip(offers, authorised, strict=True):  # what is known is what would be shown
        told = {"authorised": False, "quota": {"limit": 0, "used": 0, "left": 0}, "obstacle": offer["obstacle"]}
        assert offer == other | told


@pytest.mark.parametrize(("zone", "names"), [("ch-gva-2", []), ("hr-zag-1", ["gpua30.small"])])
def test_other_zones_have_other_gpus(exoscale, exoscale_server, zone, names):
    exoscale_server.faults.append({"quota": {"gpua30": 1}})
    offers = exoscale("gpu_offer_info", zone=zone)["offers"]
    assert [offer["instance_type"] for offer in offers] == names
    assert all(offer["eur_per_hour"] is None and offer["gpu"] is None and offer["authorised"] for offer in offers)


@pytest.mark.parametrize(
    ("module", "options", "fault", "sentence"),
    [
        ("sks_cluster_info", {}, {"status": 403}, "asked with EXOSCALE_API_KEY"),
        ("sks_cluster_info", {}, {"set": {"sks-clusters": None}}, "lacks the field sks-clusters"),
        ("sks_nodepool_info", {"cluster": "llm"}, {"status": 500}, "Try again later"),
        ("gpu_offer_info", {}, {"status": 401}, "asked with EXOSCALE_API_KEY"),
        ("gpu_offer_info", {}, {"remove": ["quotas.limit"]}, "lacks the field limit"),
    ],
)
def test_what_is_wrong_is_a_sentence(exoscale, exoscale_server, module, options, fault, sentence):
    exoscale("sks_cluster", name="llm")
    exoscale_server.faults.append({"operation": "list-[siq]*"} | fault)
    failed = exoscale(module, **options)
    assert failed["failed"] and sentence in failed["msg"]
