# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong with Exoscale, a run lives through it or ends in one sentence, and running again mends it.

Nothing is ever made twice, and no node is left that nobody asked for: it would be paid for.
"""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale import resource

LLM = {"name": "llm"}
GPU = {"cluster": "llm", "name": "gpu", "instance_type": "gpu3.small"}
# What a run is about: what was there before it (None: not even a cluster; else the sizes of its pools gpu), the module and
# its options, and what is there after it.
RUNS = {
    "make cluster": (None, "sks_cluster", LLM, []),
    "edit cluster": ([], "sks_cluster", LLM | {"description": "new"}, []),
    "upgrade": ([], "sks_cluster", LLM | {"level": "pro", "version": "1.34.4"}, []),
    "delete cluster": ([2], "sks_cluster", LLM | {"state": "absent", "force": True}, None),
    "make pool": ([], "sks_nodepool", GPU | {"size": 1}, [1]),
    "scale": ([1], "sks_nodepool", GPU | {"size": 3, "labels": {"role": "llm"}}, [3]),
    "evict": ([2], "sks_nodepool", GPU | {"size": 1, "evict": ["the first"]}, [1]),
    "delete pool": ([2], "sks_nodepool", GPU | {"state": "absent"}, []),
}
ALL = tuple(RUNS)
MAKE = ("make cluster", "make pool")
POOL = ("make pool", "scale", "evict", "delete pool")
CHANGE = ("edit cluster", "scale", "evict", "delete pool", "delete cluster")
THERE = ("edit cluster", "scale")

WRITES, OPERATION, CLUSTERS = "[cdesu]*", "get-operation", "list-sks-clusters"
# Which requests go wrong and how (see the stand-in), in which runs, and the sentence; None where the same run gets over it.
FAULTS = {
    # What passes.
    "a read is answered 429 twice": ("list-*", {"status": 429, "times": 2}, ("make pool",), None),
    "a read is answered 500 thrice": (CLUSTERS, {"status": 500, "times": 3}, ("make cluster",), None),
    "a read is reset": ("list-*", {"drop": "before", "times": 2}, ("scale",), None),
    "an answer to a read is lost": ("list-*", {"drop": "after", "times": 2}, ("delete pool",), None),
    "a write is answered 409": (WRITES, {"status": 409, "times": 1}, ALL, None),
    "a write is answered 429 twice": (WRITES, {"status": 429, "times": 2}, ("make pool", "evict"), None),
    "a write is answered 500": (WRITES, {"status": 500, "times": 1}, ("make cluster", "scale"), None),
    "a write is answered 503": (WRITES, {"status": 503, "times": 1}, ("upgrade", "make pool"), None),
    "a write is reset before it takes effect": (WRITES, {"drop": "before", "times": 1}, ALL, None),
    "a write is reset after it took effect": (WRITES, {"drop": "after", "times": 1}, ALL, None),
    "what is written to is not found once": (WRITES, {"status": 404, "times": 1}, THERE, None),
    "progress is answered 502 twice": (OPERATION, {"status": 502, "times": 2}, ("make pool",), None),
    "progress cannot be read": (OPERATION, {"drop": "before", "times": 4}, ALL, None),
    "an operation is forgotten": (OPERATION, {"status": 404, "times": 1}, ("make cluster", "scale"), None),
    "a list lags behind a creation": ("get-sks-cluster", {"status": 500, "times": 2}, ("make pool",), None),
    "the pools are missing once": (CLUSTERS, {"remove": ["sks-clusters.nodepools"], "times": 1}, ("scale",), None),
    "a cluster lacks all that it may": (
        CLUSTERS, {"remove": [f"sks-clusters.{name}" for name in (
            "cni", "addons", "auto-upgrade", "labels", "feature-gates", "enable-kube-proxy", "enable-operators-ca")]},
        ("edit cluster",), None),
    "a pool lacks all that it may": (
        CLUSTERS, {"remove": [f"sks-clusters.nodepools.{name}" for name in (
            "template", "version", "instance-prefix", "taints", "created-at")]},
        ("scale", "delete pool"), None),
    "a pool lacks what it must have once": (
        CLUSTERS, {"remove": [f"sks-clusters.nodepools.{name}" for name in ("instance-type", "labels", "disk-size")], "times": 1},
        ("scale",), None),
    "a pool that goes lacks almost all": (
        CLUSTERS, {"remove": [f"sks-clusters.nodepools.{name}" for name in (
            "instance-type", "instance-pool", "labels", "taints", "disk-size", "template", "version")]},
        ("delete pool", "delete cluster"), None),
    "values are unheard of": (
        CLUSTERS, {"set": {"sks-clusters.level": "deluxe", "sks-clusters.cni": "net", "sks-clusters.addons": ["new"],
                           "sks-clusters.nodepools.public-ip-assignment": "six", "sks-clusters.nodepools.addons": ["new"]}},
        THERE, None),
    "a state is unheard of for a while": (
        CLUSTERS, {"set": {"sks-clusters.state": "new", "sks-clusters.nodepools.state": "new"}, "times": 4}, THERE, None),
    "a pool is degraded": (CLUSTERS, {"set": {"sks-clusters.nodepools.state": "degraded"}}, ("scale",), None),
    "other quotas are not told": ("list-quotas", {"set": {"quotas": []}}, ("make pool",), None),
    # What lasts.
    "the key is wrong": (CLUSTERS, {"status": 401}, ALL, "asked with EXOSCALE_API_KEY and EXOSCALE_API_SECRET: are they right"),
    "the key may not write": (WRITES, {"status": 403, "message": "Forbidden"}, ALL, "does the IAM role of that key allow it?"),
    "the key may not read quotas": ("list-quotas", {"status": 403}, ("make pool",), "refuses list-quotas"),
    "zones are not told": ("list-zones", {"drop": "before"}, ("make pool",), "gave no answer to list-zones"),
    "all reads fail": ("list-[is]*", {"status": 500}, ("make pool", "edit cluster"), "Try again later"),
    "a write is bad": (WRITES, {"status": 400, "message": "no"}, ALL, "(HTTP 400: no)"),
    "what is written to is never found": (WRITES, {"status": 404}, CHANGE, "What it is about is gone"),
    "another changes it all the time": (WRITES, {"status": 409}, ALL, "Something else changes it at the same time"),
    "all writes are too many": (WRITES, {"status": 429}, ("make pool", "upgrade"), "Try again later"),
    "all writes fail": (WRITES, {"status": 503}, ALL, "Try again later"),
    "all writes are reset": (WRITES, {"drop": "before"}, ALL, "gave no answer"),
    "an operation fails": (
        WRITES, {"ends": "failure", "reason": "fault", "message": "no host", "times": 1}, ALL, "(fault, no host)"),
    "an operation fails at once": (WRITES, {"ends": "failure", "at_once": True, "reason": "busy"}, ALL, "failure (busy)"),
    "an operation times out": (WRITES, {"ends": "timeout", "times": 1}, ALL, "ended at Exoscale in the state timeout"),
    "an operation never ends": (WRITES, {"ends": "never"}, ALL, "still goes on at Exoscale after 60 s"),
    "an operation ends unheard of": (OPERATION, {"set": {"state": "new"}}, ("make pool", "scale"), "in the state new"),
    "an operation has no state": (OPERATION, {"remove": ["state"]}, ("make pool", "upgrade"), "lacks the field state"),
    "an operation has no id": (WRITES, {"remove": ["id"]}, ("make cluster", "make pool"), "lacks the field id (it has state, "),
    "a state is unheard of": (
        CLUSTERS, {"set": {"sks-clusters.state": "new", "sks-clusters.nodepools.state": "new"}}, THERE,
        "still in the state new after 60 s"),
    "there is no list": (CLUSTERS, {"remove": ["sks-clusters"]}, ALL, "lacks the field sks-clusters (it has none)"),
    "the list is null": (CLUSTERS, {"set": {"sks-clusters": None}}, ("make cluster",), "lacks the field sks-clusters"),
    "clusters have no name": (CLUSTERS, {"remove": ["sks-clusters.name"]}, CHANGE, "lacks the field name"),
    "clusters have no version": (CLUSTERS, {"remove": ["sks-clusters.version"]}, ("upgrade",), "lacks the field version"),
    "pools have no name": (CLUSTERS, {"remove": ["sks-clusters.nodepools.name"]}, ("scale",), "lacks the field name"),
    "pools have no size": (CLUSTERS, {"remove": ["sks-clusters.nodepools.size"]}, ("scale",), "lacks the field size"),
    "the pools are missing": (CLUSTERS, {"remove": ["sks-clusters.nodepools"]}, ("scale",), "list does not show it"),
    "types have no family": ("list-instance-types", {"remove": ["instance-types.family"]}, POOL[:3], "lacks the field family"),
    "zones have no address": ("list-zones", {"remove": ["zones.api-endpoint"]}, ("make cluster",), "lacks the field api-endpoint"),
    "quotas have no limit": ("list-quotas", {"remove": ["quotas.limit"]}, ("make pool",), "lacks the field limit"),
    "the level is unheard of": (
        CLUSTERS, {"set": {"sks-clusters.level": "deluxe"}}, ("upgrade",), "has level deluxe, which cannot be changed to pro"),
    "others use the quota up before": ("*", {"quota": {"instance": 1}}, ("scale",), "2 of your organisation's quota instance"),
    "others use the quota up meanwhile": (
        "*-sks-nodepool", {"quota": {"instance": 0}}, ("make pool", "scale"), "support to raise that quota"),
    "the family is withdrawn before": ("*", {"quota": {"gpu3": 0}}, ("make pool",), "not authorised for gpu3 in de-fra-1"),
    "the family is withdrawn meanwhile": ("create-*", {"quota": {"gpu3": 0}}, ("make pool",), "not authorized"),
    "no version is offered": (
        "list-sks-cluster-versions", {"set": {"sks-cluster-versions": []}}, ("make cluster",), "does not offer"),
}  # fmt: skip
CASES = [pytest.param(fault, run, id=f"{run}: {fault}") for fault in FAULTS for run in FAULTS[fault][2]]


class World:
    """What there is at the stand-in, whatever faults there are."""

    def __init__(self, server, request):
        self._organisation, self._request = server.organisation, request

    def ask(self, operation, body=None, **ids):
        ids = {name.replace("_", "-"): value for name, value in ids.items()}
        return self._organisation.answer(operation, self._request("de-fra-1", ids, {}, body or {}, {}))

    def clusters(self):
        return self.ask("list-sks-clusters")["sks-clusters"]

    def nodes(self):
        """Names of all nodes that are paid for."""
        return [entry["name"] for entry in self.ask("list-instances")["instances"]]

    def make_cluster(self):
        made = self.ask("create-sks-cluster", {"name": "llm", "level": "starter", "version": "1.33.5", "cni": "calico"})
        return made["reference"]["id"]

    def make_pool(self, cluster, size):
        kind = {"id": next(entry["id"] for entry in self.ask("list-instance-types")["instance-types"] if entry.get("gpus") == 1)}
        body = {"name": "gpu", "size": size, "disk-size": 50, "instance-type": kind}
        return self.ask("create-sks-nodepool", body, id=cluster)["reference"]["id"]

    def shown(self):
        """As the last element of RUNS tells it; the sizes are what the pools' nodes are, too."""
        clusters = self.clusters()
        assert len(clusters) <= 1
        sizes = [pool["size"] for cluster in clusters for pool in cluster["nodepools"]]
        assert len(self.nodes()) == sum(sizes)
        return sizes if clusters else None


@pytest.fixture
def world(exoscale_server, exoscale_module):
    return World(exoscale_server, exoscale_module.Request)


@pytest.fixture
def play(world, exoscale):
    """Make what is there before a run; returns what does the run."""

    def play(run):
        before, module, options, _ = RUNS[run]
        if before is not None:
            cluster = world.make_cluster()
            for size in before:
                world.make_pool(cluster, size)
        if "evict" in options:
            options = options | {"evict": world.nodes()[:1]}
        return lambda: exoscale(module, **options)

    return play


@pytest.mark.parametrize(("fault", "run"), CASES)
def test_each_fault(play, world, exoscale_server, fault, run):
    operation, what, _, sentence = FAULTS[fault]
    before, _, _, after = RUNS[run]
    do = play(run)
    kept = world.nodes()[1:]
    exoscale_server.faults.append({"operation": operation} | what)
    first = do()
    assert first.get("msg", "").count("\n") == 0
    if sentence is None:
        assert first.get("changed"), first
        assert world.shown() == after
    else:
        assert first.get("failed") and sentence in first["msg"], first
    exoscale_server.heal()
    assert len(world.clusters()) <= 1 and len(world.nodes()) <= max(sum(before or []), sum(after or []))
    again = do()
    assert not again.get("failed"), (first, again)
    assert world.shown() == after and (sentence or not again["changed"])
    assert run != "evict" or world.nodes() == kept


@pytest.mark.parametrize("run", MAKE)
def test_a_creation_that_takes_effect_long_after_its_answer_was_lost(play, world, exoscale_server, monkeypatch, run):
    do, left = play(run), iter([True])
    sleep = resource.time.sleep

    def late(seconds):
        sleep(seconds)
        if seconds == resource.LATE[-1] and next(left, False):
            world.make_cluster() if run == "make cluster" else world.make_pool(world.clusters()[0]["id"], 1)

    monkeypatch.setattr(resource.time, "sleep", late)
    exoscale_server.faults.append({"operation": "create-*", "drop": "before", "times": 1})
    made = do()
    assert made["changed"] and made["calls"][f"create-sks-{'cluster' if run == 'make cluster' else 'nodepool'}"] == 1
    assert world.shown() == RUNS[run][3] and not do()["changed"]


@pytest.mark.parametrize("run", MAKE)
def test_what_a_failed_creation_left_and_could_not_be_removed_is_shown(play, world, exoscale, exoscale_server, run):
    do, (_, module, options, after) = play(run), RUNS[run]
    exoscale_server.faults.append({"operation": WRITES, "ends": "failure", "reason": "fault"})
    failed = do()
    assert "create-sks-" in failed["msg"] and "What it left could not be removed: delete-sks-" in failed["msg"]
    exoscale_server.heal()
    shown = do()
    assert shown["failed"] and "is in the state error (id " in shown["msg"] and not shown["writes"]
    assert exoscale(module, **options | {"state": "absent"})["changed"] and do()["changed"] and world.shown() == after


@pytest.mark.parametrize(("run", "operation"), [
    ("scale", "update_sks_nodepool"), ("scale", "scale_sks_nodepool"), ("evict", "evict_sks_nodepool_members"),
    ("delete pool", "delete_sks_nodepool"),
])  # fmt: skip
def test_a_pool_that_is_deleted_by_hand_meanwhile(play, world, exoscale_server, exoscale_module, monkeypatch, run, operation):
    do, organisation = play(run), exoscale_server.organisation
    real, delete = getattr(organisation, operation), organisation.delete_sks_nodepool

    def gone(request):
        monkeypatch.setattr(organisation, operation, real)
        delete(request)
        organisation.settle()
        return real(request)  # which finds nothing

    monkeypatch.setattr(organisation, operation, gone)
    assert do()["changed"] and world.shown() == RUNS[run][3] and not do()["changed"]


def test_a_pool_that_was_deleted_by_hand_before_is_made_anew(play, world):
    do = play("scale")
    [cluster] = world.clusters()
    world.ask("delete-sks-nodepool", id=cluster["id"], sks_nodepool_id=cluster["nodepools"][0]["id"])
    assert do()["changed"] and world.shown() == [3]


@pytest.mark.parametrize(("kind", "module", "options", "sentence"), [
    ("cluster", "sks_cluster", LLM, "There are 2 clusters named llm in de-fra-1: name one by its id ("),
    ("cluster", "sks_nodepool", GPU | {"size": 1}, "There are 2 clusters named llm in de-fra-1"),
    ("pool", "sks_nodepool", GPU | {"size": 2}, "There are 2 node pools named gpu in llm: name one by its id ("),
    ("pool", "sks_nodepool", GPU | {"state": "absent"}, "There are 2 node pools named gpu in llm"),
])  # fmt: skip
def test_two_of_one_name_are_told_apart_by_their_ids_alone(world, exoscale, kind, module, options, sentence):
    cluster = world.make_cluster()
    first = cluster if kind == "cluster" else world.make_pool(cluster, 1)
    world.make_cluster() if kind == "cluster" else world.make_pool(cluster, 1)
    doubled = exoscale(module, **options)
    assert doubled["failed"] and sentence in doubled["msg"] and not doubled["writes"]
    name = "cluster" if kind == "cluster" and module == "sks_nodepool" else "name"
    assert not exoscale(module, **options | {name: first}).get("failed")


def test_an_object_in_the_state_error_is_shown_and_can_be_removed(play, world, exoscale, exoscale_server):
    do = play("scale")
    exoscale_server.faults.append({"operation": CLUSTERS, "set": {"sks-clusters.nodepools.state": "error"}, "times": 2})
    shown = do()
    assert shown["failed"] and "is in the state error (id " in shown["msg"] and not shown["writes"]
    assert exoscale("sks_nodepool", **GPU | {"state": "absent"})["changed"] and world.shown() == []
