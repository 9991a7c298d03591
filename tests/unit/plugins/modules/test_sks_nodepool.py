# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from types import SimpleNamespace

import pytest

TAINT = {"nodepool": {"value": "llm", "effect": "NoSchedule"}}
GPU = {"instance_type": "gpu3.small", "size": 1, "disk_size": 400, "labels": {"role": "llm"}, "taints": TAINT}
READS = {"list-zones": 1, "list-sks-clusters": 1, "list-instance-types": 1}
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def pool(exoscale):
    """Run the module for the pool gpu of the cluster llm."""
    return lambda check=False, **options: exoscale("sks_nodepool", check, **({"cluster": "llm", "name": "gpu"} | options))


@pytest.fixture
def cluster(exoscale):
    """The cluster llm, as sks_cluster makes it."""
    return exoscale("sks_cluster", name="llm")["cluster"]


@pytest.fixture
def there(exoscale_server):
    """What the stand-in has of the cluster llm, whatever faults there are."""
    return lambda: exoscale_server.organisation.list_sks_clusters(SimpleNamespace(zone="de-fra-1"))["sks-clusters"][0]


@pytest.mark.usefixtures("cluster")
def test_a_pool_is_made_once(pool):
    made = pool(**GPU)
    assert made["changed"] and made["writes"] == ["create-sks-nodepool"]
    assert GPU.items() <= made["nodepool"].items() and made["nodepool"]["state"] == "running"
    assert made["diff"]["before"] == {} and made["diff"]["after"].items() <= made["nodepool"].items()
    again = pool(**GPU)
    assert not again["changed"] and again["nodepool"] == made["nodepool"] and again["calls"] == READS


@pytest.mark.usefixtures("cluster")
def test_its_nodes_are_in_the_clusters_security_group(pool, there):
    pool(**GPU)
    cluster = there()
    assert cluster["nodepools"][0]["security-groups"] == [{"id": cluster["default-security-group-id"]}]


def test_a_cluster_is_also_named_by_its_id(pool, cluster):
    assert pool(**GPU, cluster=cluster["id"])["nodepool"]["cluster"] == "llm"
    assert not pool(**GPU)["changed"]


def test_check_mode_before_there_is_a_cluster(pool):
    planned = pool(check=True, **GPU)
    assert planned["changed"] and planned["diff"]["after"].items() >= GPU.items()
    assert planned["calls"] == READS | {"list-quotas": 1}
    assert "no instance type small" in pool(check=True, **GPU | {"instance_type": "small"})["msg"]
    for check in (True, False):
        assert not pool(check, state="absent")["changed"]
    missing = pool(**GPU)
    assert missing["failed"] and "There is no cluster llm in de-fra-1" in missing["msg"] and not missing["writes"]


@pytest.mark.usefixtures("cluster")
def test_check_mode_says_what_would_be_and_writes_nothing(pool):
    planned, made = pool(check=True, **GPU), pool(**GPU)
    assert planned["diff"] == made["diff"] and not planned["writes"]
    planned = pool(check=True, size=2)
    assert planned["diff"]["after"] == planned["diff"]["before"] | {"size": 2} and not planned["writes"]
    assert not pool(check=True, **GPU)["changed"] and pool(check=True, state="absent")["changed"]
    assert not pool(**GPU)["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("change", "writes"),
    [
        ({"size": 2}, ["scale-sks-nodepool"]),
        ({"labels": {}}, ["update-sks-nodepool"]),
        ({"taints": {}}, ["update-sks-nodepool"]),
        ({"labels": {"other": "label"}, "size": 3}, ["update-sks-nodepool", "scale-sks-nodepool"]),
        ({"disk_size": 50, "description": "for models", "instance_prefix": "gpu-a"}, ["update-sks-nodepool"]),
        ({"instance_type": "gpu3.medium"}, ["update-sks-nodepool"]),
        ({"kubelet_max_pods": 50, "public_ip_assignment": "dual"}, ["update-sks-nodepool"]),
    ],
)
def test_an_edit_changes_exactly_that(pool, change, writes):
    made = pool(**GPU)["nodepool"]
    edited = pool(**GPU | change)
    assert edited["writes"] == writes
    assert edited["nodepool"] == made | change
    before, after = edited["diff"]["before"], edited["diff"]["after"]
    assert {name: after[name] for name in after if after[name] != before[name]} == change
    assert not pool(**GPU | change)["changed"]
    assert not pool()["changed"]  # what is not given stays


# Options with names or ids, and what takes it away again.
PLACES = [
    ({"anti_affinity_groups": ["spread"]}, {"anti_affinity_groups": []}),
    ({"private_networks": ["storage", "backup"]}, {"private_networks": []}),
    ({"security_groups": ["ssh"]}, {"security_groups": []}),
    ({"deploy_target": "dedicated"}, {"deploy_target": ""}),
]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("options", "cleared"), PLACES)
def test_groups_and_networks_go_by_name_or_id_and_can_be_cleared(pool, there, exoscale_module, options, cleared, at_once):
    before = pool(**GPU)["nodepool"] if not at_once else None
    made = pool(**GPU | options)
    [(name, wanted)] = options.items()
    own = there()["default-security-group-id"] if name == "security_groups" else None
    kind = f"{name.rstrip('s').replace('_', '-')}s"
    ids = sorted([own] * bool(own) + [exoscale_module.catalogue.identity(f"{kind}.{one}") for one in
                                     (wanted if isinstance(wanted, list) else [wanted])])
    assert made["nodepool"][name] == (ids if isinstance(wanted, list) else ids[0])
    assert not pool(**GPU | {name: made["nodepool"][name]})["changed"]
    assert not pool(**GPU)["changed"]
    assert pool(**GPU | cleared)["nodepool"] == (before or made["nodepool"] | {name: [own] if own else cleared[name]})
    assert not pool(**GPU | cleared)["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ({"kubelet_image_gc": {"high_threshold": 85, "min_age": "2m"}}, {"kubelet_image_gc": {"low_threshold": 60}},
         {"high_threshold": 85, "low_threshold": 60, "min_age": "2m"}),
        ({"kubelet_max_pods": 50}, {"kubelet_max_pods": 0}, 0),
        ({"public_ip_assignment": "dual"}, {"public_ip_assignment": "inet4"}, "inet4"),
        ({"labels": {"a": "b"}}, {"labels": {}}, {}),
        ({"taints": TAINT}, {"taints": {}}, {}),
        ({"description": "for models"}, {"description": ""}, ""),
    ],
)
def test_each_option_is_set_and_changed(pool, first, second, shown):
    pool(**GPU | first)
    assert not pool(**GPU | first)["changed"]
    assert pool(**second)["nodepool"][next(iter(second))] == shown
    assert not pool(**second)["changed"] and not pool()["changed"]


@pytest.mark.usefixtures("cluster")
def test_what_sks_adds_to_the_nodes_is_for_new_pools_only(pool):
    made = pool(**GPU, addons=["storage-lvm"])
    assert made["nodepool"]["addons"] == ["storage-lvm"] and not pool(**GPU)["changed"]
    refused = pool(**GPU, addons=[])
    assert "cannot be changed to []: for that, delete and make anew the pool with its 1 nodes" in refused["msg"]


def test_a_gpu_is_partitioned_where_it_can_be(exoscale, exoscale_server):
    exoscale("sks_cluster", zone="hr-zag-1", name="llm")
    exoscale_server.faults.append({"quota": {"gpua30": 2}})

    def pool(**options):
        return exoscale("sks_nodepool", zone="hr-zag-1", cluster="llm", name="gpu", size=1, **options)

    assert "for gpua30.small it is a30.24gb" in pool(
        instance_type="gpua30.small", nvidia_mig_profiles={"b300.269gb": "1g.34gb"})["msg"]
    profiles = {"a30.24gb": "1g.6gb"}
    made = pool(instance_type="gpua30.small", nvidia_mig_profiles=profiles)
    assert made["nodepool"]["nvidia_mig_profiles"] == profiles and not pool()["changed"]
    assert pool(nvidia_mig_profiles={})["nodepool"]["nvidia_mig_profiles"] == {}


@pytest.mark.usefixtures("cluster")
def test_a_pool_is_taken_over_by_its_id_too(pool):
    about = pool(**GPU)["nodepool"]
    taken = pool(name=about["id"], size=2)
    assert taken["nodepool"] == about | {"size": 2}
    assert pool(name=about["id"], state="absent")["changed"]
    gone = pool(**GPU | {"name": about["id"]})
    assert "a new one needs a name instead of an id" in gone["msg"] and not gone["writes"]


@pytest.fixture
def nodes(exoscale):
    """The nodes of the pool gpu, with their names."""
    return lambda: [node["name"] for node in exoscale("sks_nodepool_info", cluster="llm", name="gpu")["nodepools"][0]["nodes"]]


@pytest.mark.usefixtures("cluster")
def test_a_pool_shrinks_only_by_nodes_that_are_named_or_when_that_is_allowed(pool, nodes, exoscale_server):
    pool(**GPU | {"size": 4})
    first, second, third, fourth = nodes()
    for check in (True, False):
        refused = pool(check, size=2)
        assert refused["failed"] and not refused["writes"]
        assert "has 4 nodes, and size 2 takes 2 of them away, with all that runs there" in refused["msg"]
        assert f"just as many of {first}, {second}, {third}, {fourth} (0 are named)" in refused["msg"]
    for named in ([second], [first, second, third], [second, "no-node-of-it"]):
        refused = pool(size=2, evict=named)
        assert refused["failed"] and not refused["writes"]
    planned = pool(check=True, size=3, evict=[second])
    assert planned["evicted"] == [second] and not planned["writes"] and planned["diff"]["after"]["size"] == 3
    gone = pool(size=3, evict=[second])
    assert gone["writes"] == ["evict-sks-nodepool-members"] and gone["evicted"] == [second]
    assert nodes() == [first, third, fourth]
    again = pool(size=3, evict=[second])
    assert not again["changed"] and "evicted" not in again
    mixed = pool(size=1, evict=[third, second], allow_shrink=True)
    assert mixed["writes"] == ["evict-sks-nodepool-members", "scale-sks-nodepool"] and mixed["evicted"] == [third]
    assert nodes() == [first]
    assert "evict" in pool(evict=[first])["msg"]  # which needs size
    empty = pool(size=0, allow_shrink=True)
    assert empty["writes"] == ["scale-sks-nodepool"] and nodes() == [] and empty["nodepool"]["size"] == 0
    assert not pool(size=0)["changed"] and pool(size=1)["nodepool"]["size"] == 1


@pytest.mark.usefixtures("cluster")
def test_a_node_is_also_named_by_its_id(pool, exoscale):
    pool(**GPU | {"size": 2})
    [_, last] = exoscale("sks_nodepool_info", cluster="llm", name="gpu")["nodepools"][0]["nodes"]
    assert pool(size=1, evict=[last["id"]])["evicted"] == [last["name"]]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("quota", "size", "sentence"),
    [
        ({}, 5, "cannot have 5 nodes: 4 more gpu3.small need 4 of your organisation's quota gpu3, of which 1 of 4 are used: "
                "ask Exoscale's support to raise it to 5."),
        ({"instance": 2}, 3, "2 more gpu3.small need 2 of your organisation's quota instance, of which 1 of 2 are used"),
        ({"gpu": 1}, 2, "quota gpu, of which 1 of 1 are used"),
    ],
)
def test_what_exceeds_a_quota_is_known_before_anything_is_written(pool, exoscale_server, quota, size, sentence):
    pool(**GPU)
    exoscale_server.faults.append({"quota": quota})
    for check in (True, False):
        refused = pool(check, size=size, labels={})
        assert refused["failed"] and sentence in refused["msg"] and not refused["writes"]
    exoscale_server.heal()
    exoscale_server.faults.append({"operation": "list-quotas", "set": {"quotas.limit": -1}})  # none
    assert pool(size=2)["nodepool"]["size"] == 2


@pytest.mark.usefixtures("cluster")
def test_numbers_and_truth_values_of_yaml_are_text_in_kubernetes(pool):
    options = GPU | {"labels": {"slots": 2, "gpu": True}, "taints": {"gpu": {"value": True, "effect": "NoSchedule"}}}
    made = pool(**options)["nodepool"]
    assert made["labels"] == {"slots": "2", "gpu": "true"} and made["taints"]["gpu"]["value"] == "true"
    assert not pool(**options)["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"instance_type": "small"}, "There is no instance type small. Is gpu3.small or standard.small meant?"),
        ({"instance_type": "gpu3.smal"}, "There is no instance type gpu3.smal. Is gpu3.small meant?"),
        ({"instance_type": "gpua5000.small"}, "not authorised for gpua5000 in de-fra-1: ask Exoscale's support for a quota"),
        ({"zone": "de-fra-9"}, "no zone de-fra-9; it has at-vie-1, "),
        ({"zone": "ch-gva-2"}, "no cluster llm in ch-gva-2"),
        ({"cluster": "lm"}, "Is llm meant?"),
        ({"name": "GPU"}, "lowercase"),
        ({"instance_prefix": "GPU"}, "instance_prefix 'GPU' of gpu must be 1 to 30 lowercase letters"),
        ({"instance_prefix": "a" * 31}, "must be 1 to 30"),
        ({"size": -1}, "size -1 of gpu is below 0"),
        ({"size": 0}, "makes none of size 0"),
        ({"disk_size": 10}, "not between 20 and 51200"),
        ({"taints": {"nodepool": {"value": "llm"}}}, "taint nodepool of gpu is {'value': 'llm'}: it needs a value and an effect"),
        ({"taints": {"nodepool": {"value": "llm", "effect": "Never"}}}, "one of NoSchedule, PreferNoSchedule, NoExecute"),
        ({"taints": {"nodepool": "llm:NoSchedule"}}, "it needs a value and an effect"),
        ({"instance_type": None}, "to make it instance_type must be given"),
        ({"labels": {"role": "a b"}}, "The label role: a b of gpu is none for Kubernetes"),
        ({"labels": {"-role": "a"}}, "The label -role: a of gpu is none"),
        ({"taints": {"a/b/c": {"value": "d", "effect": "NoSchedule"}}}, "The label a/b/c: d of gpu is none"),
        ({"nvidia_mig_profiles": {"a30.24gb": "1g.6gb"}}, "gpu3.small (NVIDIA A40) has no MIG, only gpua30, gpub300, "),
        ({"kubelet_image_gc": {"high_threshold": 70, "low_threshold": 80}}, "the low one below the high one"),
        ({"kubelet_max_pods": -1}, "not within 0 and 65535"),
        ({"security_groups": ["shh"]}, "There is no security group shh in de-fra-1. Is ssh meant?"),
        ({"private_networks": [NOWHERE]}, f"no private network {NOWHERE} in de-fra-1. There are backup, storage."),
        ({"anti_affinity_groups": ["x"]}, "no anti-affinity group x"),
        ({"deploy_target": "x"}, "no deploy target x in de-fra-1. There are dedicated."),
    ],
)
def test_a_mistake_is_a_sentence_before_anything_is_written(pool, options, sentence):
    given = {name: value for name, value in (GPU | options).items() if value is not None}
    refused = pool(**given)
    assert refused["failed"] and sentence in refused["msg"] and not refused["writes"]


def test_a_type_of_another_zone_is_named_with_its_zones(pool, exoscale):
    exoscale("sks_cluster", zone="ch-gva-2", name="llm")
    assert pool(zone="ch-gva-2", **GPU)["msg"] == "There is no gpu3.small in ch-gva-2, only in de-fra-1."


@pytest.mark.usefixtures("cluster")
def test_a_pool_is_deleted_once(pool):
    pool(**GPU)
    gone = pool(state="absent")
    assert gone["writes"] == ["delete-sks-nodepool"] and gone["diff"]["after"] == {} and "nodepool" not in gone
    assert not pool(state="absent")["changed"]
