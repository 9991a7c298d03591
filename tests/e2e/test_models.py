# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that are locked, that move on the hub, that are shared, and the hub away; with small files, and no engine where none is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import POOL_LABEL
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, NODE, POD, STORAGE_CLASS

from .conftest import ALL, REPOSITORY, SANDBOX

GONE = ("-e", "llm_hub=http://127.0.0.1:9")
STOPPED = {"llm_model": "e2e/small-GGUF:Q4_1", "llm_replicas": 0}


def names(admin, kind: str, label: str = "") -> list[str]:
    found = admin.request("GET", BY_NAME[kind].path("llm-alice"), query={"labelSelector": label})["items"]
    return [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]


def test_a_locked_deployment_stays_at_its_commit_and_needs_no_hub(run, inventory, admin, clean, repository, fetched):
    host = clean("alice-locked")
    one = inventory("alice", {host: STOPPED})
    locked = run("playbooks/lock.yml", one, SANDBOX, extra=("--diff",))
    entry = yaml.safe_load((one / "lock.yml").read_text())["engineer_alice"]["vars"]["llm_locks"][host]
    assert locked.changed and locked.diffs[0]["after"] == (one / "lock.yml").read_text()
    assert entry["files"][0]["size"] == 21 and len(entry["files"][0]["sha256"]) == 64
    assert not run("playbooks/lock.yml", one, SANDBOX).changed
    assert run("site.yml", one, SANDBOX).changed == {host}

    repository("small-Q4_1.gguf", b"GGUF and something else")
    moved = run("site.yml", one, SANDBOX)
    assert moved.status == 0 and not moved.changed and f"locked is {entry['commit'][:7]}" in moved.warnings

    (job,) = names(admin, "Job", f"{INSTANCE}={host}")
    admin.request("DELETE", BY_NAME["Job"].path("llm-alice", job), query={"propagationPolicy": "Background"})
    before = fetched()
    offline = run("site.yml", one, SANDBOX, env={"HF_HUB_OFFLINE": "1"})
    assert offline.status == 0 and offline.changed == {host} and fetched() == before

    assert run("playbooks/lock.yml", one, SANDBOX).changed
    assert run("site.yml", one, SANDBOX).changed == {host}
    assert fetched() == before + 23
    assert len(names(admin, "Job", f"{INSTANCE}={host}")) == 1  # that of the former commit is pruned


def test_what_left_the_inventory_leaves_its_lock(run, inventory, repository):
    both, one = inventory("alice", dict.fromkeys(("alice-left", "alice-stays"), STOPPED)), inventory("alice", {"alice-stays": STOPPED})
    assert run("playbooks/lock.yml", both, SANDBOX).status == 0
    (one / "lock.yml").write_text((both / "lock.yml").read_text())
    result = run("playbooks/lock.yml", one, SANDBOX, extra=("--diff",))
    assert result.status == 0 and "alice-left" in result.diffs[0]["before"]
    assert list(yaml.safe_load((one / "lock.yml").read_text())["engineer_alice"]["vars"]["llm_locks"]) == ["alice-stays"]


def test_a_spoilt_lock_file_is_left_alone(run, inventory, repository):
    one = inventory("alice", {"alice-locked": STOPPED})
    (one / "lock.yml").write_text("engineer_alice: {vars: {}}\n")
    result = run("playbooks/lock.yml", one, SANDBOX)
    assert result.status != 0 and f"{one}/lock.yml is not as playbooks/lock.yml writes it: remove it" in result.message
    assert (one / "lock.yml").read_text() == "engineer_alice: {vars: {}}\n"


def test_a_lock_that_would_not_be_read_is_an_error(run, inventory, repository):
    one = inventory("alice", {"alice-locked": STOPPED})
    assert run("playbooks/lock.yml", one, SANDBOX).status == 0
    result = run("playbooks/deploy.yml", one / "hosts.yml", SANDBOX)
    assert f"lock.yml is not read with -i {one}/hosts.yml: give the directory" in result.message


def test_without_the_hub_a_run_that_needs_nothing_of_it_goes_through(run, inventory, objects):
    before = objects("llm-alice") | objects("llm-bob")
    result = run("site.yml", *ALL, extra=GONE)
    assert result.status == 0 and not result.changed and objects("llm-alice") | objects("llm-bob") == before
    assert result.warnings.count("as the cluster has it") == 3
    new = run("site.yml", inventory("alice", {"alice-new": STOPPED}), SANDBOX, extra=GONE)
    assert "alice-new: llm_model: The hub at http://127.0.0.1:9 does not answer" in new.message


@pytest.fixture
def shared_class(admin, environment):
    """A storage class whose volumes count as shared, and one volume of it on a worker."""
    nodes = admin.request("GET", NODE.path())["items"]
    node = next(node["metadata"]["name"] for node in nodes if node["metadata"]["labels"].get(POOL_LABEL) == "llm")
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    made = {
        STORAGE_CLASS.path(): {"metadata": {"name": "e2e-shared"}, "provisioner": "e2e.nfs.csi.k8s.io"},
        "/api/v1/persistentvolumes": {
            "metadata": {"name": "e2e-shared"},
            "spec": {
                "storageClassName": "e2e-shared",
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": "/var/e2e-shared"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
            },
        },
    }
    open_to_all = ["docker", "exec", node, "mkdir", "-p", "-m", "777", "/var/e2e-shared"]  # the kubelet sets no owner on such volumes
    subprocess.run(open_to_all, env=environment, check=True)
    for path, obj in made.items():
        admin.request("POST", path, obj)
    yield "e2e-shared"
    for path in made:
        admin.request("DELETE", f"{path}/e2e-shared")
    subprocess.run(["docker", "exec", node, "rm", "-r", "/var/e2e-shared"], env=environment, check=True)


def test_two_deployments_share_one_volume_and_one_download(run, inventory, admin, clean, repository, fetched, shared_class):
    hosts = [clean("alice-share1"), clean("alice-share2")]
    shared = STOPPED | {"llm_shared_cache": True, "llm_storage_class": shared_class}
    both = inventory("alice", dict.fromkeys(hosts, shared))
    before = fetched()
    assert run("site.yml", both, SANDBOX).status == 0
    (cache,) = [name for name in names(admin, "PersistentVolumeClaim") if name.startswith("cache-")]
    clean(cache)
    assert fetched() == before + 21 and len(names(admin, "Job", f"{INSTANCE}={cache}")) == 1
    assert not set(hosts) & set(names(admin, "PersistentVolumeClaim"))
    assert not run("site.yml", both, SANDBOX).changed
    for host in hosts:
        pod = admin.request("GET", BY_NAME["Deployment"].path("llm-alice", host))["spec"]["template"]["spec"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == cache
        assert pod["containers"][0]["volumeMounts"][0]["readOnly"]

    remove = ("-e", json.dumps({"llm_remove_volumes": [cache]}))
    assert "no volume without a deployment" in run("site.yml", both, SANDBOX, extra=remove).message


def test_block_storage_is_not_shared(run, inventory, repository):
    result = run("site.yml", inventory("alice", {"alice-share": STOPPED | {"llm_shared_cache": True}}), SANDBOX)
    assert "alice-share: llm_shared_cache: volumes of the storage class standard (rancher.io/local-path) are for one node" in result.message


def test_a_gguf_file_is_made_once_and_served(run, inventory, admin, clean, fetched):
    """By llama.cpp's own converter and quantiser; a second Job finds it made, whatever became of the first."""
    subprocess.run([sys.executable, "-m", "tests.sandbox", "load", "converter"], cwd=REPOSITORY, check=True)
    host = clean("alice-made")
    one = inventory("alice", {host: {"llm_model": "tiny/llama:Q4_K_M", "llm_context": 256, "llm_slots": 1}})
    result = run("site.yml", one, SANDBOX)
    assert result.status == 0, result.message
    (answer,) = [entry["answer"] for _task, name, entry in result.results if name == host and "answer" in entry]
    assert answer["tokens_per_second"] > 0
    (job,) = names(admin, "Job", f"{INSTANCE}={host}")
    assert "was made from tiny/llama@" in said(admin, job)

    admin.request("DELETE", BY_NAME["Job"].path("llm-alice", job), query={"propagationPolicy": "Background"})
    before = fetched()
    again = run("site.yml", one, SANDBOX)
    assert again.status == 0 and fetched() == before and "was made already" in said(admin, job)
    assert not run("site.yml", one, SANDBOX).changed


def said(admin, job: str) -> str:
    """The termination message of a Job's last container."""
    (pod,) = admin.request("GET", POD.path("llm-alice"), query={"labelSelector": f"job-name={job}"})["items"]
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
