# SPDX-License-Identifier: GPL-3.0-or-later
"""Service and network policy, proved by clients inside the cluster."""

from __future__ import annotations

import base64
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, POD

ASK = """
import json, os, urllib.request
body = json.dumps({"model": "alice-chat", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}).encode()
headers = {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"}
request = urllib.request.Request("http://alice-chat.llm-alice/v1/chat/completions", body, headers)
print(json.load(urllib.request.urlopen(request, timeout=5))["usage"]["completion_tokens"])
"""


@pytest.fixture
def client(admin):
    """Runs the question in a pod of a namespace and returns the pod's phase and last words."""
    made = []

    def client(namespace: str, key: str) -> tuple[str, str]:
        name = f"client-{len(made)}"
        pod = {
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "client",
                        "image": "localhost/downloader:2.4.0",
                        # A fresh pod's rules take up to 1.2 s to arrive.
                        "command": ["python3", "-c", f"import time; time.sleep(3)\n{ASK}"],
                        "env": [{"name": "KEY", "value": key}],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
            },
        }
        made.append((namespace, name))
        admin.request("POST", POD.path(namespace), pod)
        for _attempt in range(60):
            phase = admin.request("GET", POD.path(namespace, name))["status"]["phase"]
            if phase in ("Succeeded", "Failed"):
                return phase, admin.text(POD.path(namespace, name) + "/log", {"tailLines": 1})
            time.sleep(1)
        raise AssertionError(f"the client pod in {namespace} is still {phase}")

    yield client
    for namespace, name in made:
        try:
            admin.request("DELETE", POD.path(namespace, name), query={"gracePeriodSeconds": 0})
        except KubeError:
            pass  # never made


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
