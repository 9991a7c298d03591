# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches an endpoint, and what is refused."""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS

from .conftest import PRESENT, VARIANTS


@pytest.fixture(params=PRESENT)
def engine(request) -> str:
    return request.param


@pytest.fixture
def objects(rendered, engine):
    return lambda variant: rendered[f"alice-{variant}-{engine.replace('_', '')}"]


def guests(objects) -> list[str]:
    """The namespaces that a deployment's policy lets in."""
    policy = objects.one("NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    (peer,) = rule["from"]
    (names,) = peer["namespaceSelector"]["matchExpressions"]
    return names["values"]


def test_an_ingress_publishes_the_routes_that_need_the_key_with_tls(objects, engine):
    mine = objects("ingress")
    ingress = mine.one("Ingress")
    name = ingress["metadata"]["name"]
    (rule,) = ingress["spec"]["rules"]
    paths = rule["http"]["paths"]
    assert rule["host"] == f"{name}.example.org" and ingress["spec"]["ingressClassName"] == "traefik"
    assert tuple(path["path"] for path in paths) == CONTRACTS[engine].keyed
    assert {path["pathType"] for path in paths} == {"Exact"}
    service = mine.one("Service")
    assert {str(path["backend"]) for path in paths} == {
        str({"service": {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}})
    }
    assert ingress["spec"]["tls"] == [{"hosts": [f"{name}.example.org"], "secretName": f"{name}-tls"}]
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "letsencrypt"}
    assert guests(mine) == ["edge"]


def test_a_route_publishes_the_same_at_the_gateways_https_listener(objects, engine):
    mine = objects("gateway")
    route = mine.one("HTTPRoute")
    (gateway,) = route["spec"]["parentRefs"]
    assert gateway.items() >= {"kind": "Gateway", "name": "public", "namespace": "edge", "sectionName": "https"}.items()
    assert route["spec"]["hostnames"] == [f"{route['metadata']['name']}.example.org"]
    (rule,) = route["spec"]["rules"]
    assert tuple(match["path"]["value"] for match in rule["matches"]) == CONTRACTS[engine].keyed
    assert {match["path"]["type"] for match in rule["matches"]} == {"Exact"}
    service = mine.one("Service")
    (backend,) = rule["backendRefs"]
    wanted = {"kind": "Service", "name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    assert backend.items() >= wanted.items()
    assert rule["timeouts"] == {"request": "0s"}
    assert guests(mine) == ["edge"]


def test_a_colleague_gets_a_way_in_and_one_secret_to_read(objects):
    mine = objects("shared")
    host = mine.one("Deployment")["metadata"]["name"]
    name = f"{host}-for-bob"
    assert guests(mine) == ["llm-bob"]
    assert mine.one("Secret", name)["metadata"]["annotations"] == {"selfhosted.llm/key-of": f"{host}-api-key"}
    assert mine.one("Secret", name)["data"]["OPENAI_API_KEY"] == "hidden"
    (rule,) = mine.one("Role", name)["rules"]
    assert rule == {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]}
    binding = mine.one("RoleBinding", name)
    assert binding["roleRef"]["name"] == name and [subject["name"] for subject in binding["subjects"]] == ["llm:bob"]


def test_the_pods_are_those_that_the_platforms_policy_lets_engineers_reach(rendered, objects):
    (policy, _other) = rendered["llm-frankfurt"].of("NetworkPolicy", "own-namespace-only")
    (peer,) = [peer for rule in policy["spec"]["egress"] for peer in rule["to"] if "selfhosted.llm/engineer" in str(peer)]
    labels = objects("shared").one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    namespaces = [obj for obj in rendered["llm-frankfurt"].of("Namespace") if obj["metadata"]["name"].startswith("llm-")]
    assert [obj["metadata"]["labels"]["selfhosted.llm/engineer"] for obj in namespaces] == ["alice", "bob"]


@pytest.fixture(scope="module")
def refused(check) -> str:
    """What a run says of deployments that are all wrong."""
    wrong = {
        "alice-labels": {"llm_labels": {"app.kubernetes.io/instance": "x"}, "llm_annotations": {"selfhosted.llm/model": "x"}},
        "alice-self": {"llm_shared_with": ["alice"]},
        "alice-stranger": {"llm_shared_with": ["carol"]},
        "alice-bare": {"llm_expose": "ingress", "llm_api_key": False},
        "alice-gateless": {"llm_expose": "gateway"},
        "alice-same": VARIANTS["ingress"] | {"llm_hostname": "x.example.org"},
        "alice-twice": VARIANTS["gateway"] | {"llm_hostname": "x.example.org"},
        "alice-proxy": {"llm_proxy": "http://user:wordthatpasses@proxy:3128"},
        "alice-noca": {"llm_ca_file": "/nowhere/ca.crt"},
    }
    run = check({"llama_cpp": wrong})
    assert run.status != 0
    assert not [host for host in run.objects if host in wrong]  # nothing was rendered, let alone written
    return run.message


@pytest.mark.parametrize(
    "sentence",
    [
        "alice-labels: llm_labels: app.kubernetes.io/instance is the collection's own",
        "alice-labels: llm_annotations: selfhosted.llm/model is the collection's own",
        "alice-self: llm_shared_with: alice is the owner",
        "alice-stranger: llm_shared_with: this platform has no engineer carol, but alice, bob.",
        "alice-bare: llm_expose: without a key",
        "alice-bare: llm_expose: set llm_hostname",
        "alice-bare: llm_expose: set llm_ingress_namespace",
        "alice-bare: llm_expose: set llm_tls_issuer",
        "alice-gateless: llm_expose: set llm_gateway",
        "alice-twice: llm_hostname: x.example.org is alice-same's already",
        "alice-proxy: llm_proxy: a user or password",
        "alice-noca: llm_ca_file: /nowhere/ca.crt cannot be read (No such file or directory).",
    ],
)
def test_a_refusal_is_a_sentence(refused, sentence):
    assert sentence in refused


def test_a_password_is_not_repeated(refused):
    assert "wordthatpasses" not in refused
