# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import copy
import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.modules import hf_token_secret


class Cluster:
    """A cluster with the namespace llm-alice, as far as the module asks it; counts what is really written."""

    def __init__(self):
        self.secrets: dict[str, dict] = {}
        self.writes = 0

    def request(self, method, path, body=None, query=None, content_type=None):
        if "/namespaces/llm-alice/" not in path or method in ("GET", "DELETE") and path not in self.secrets:
            raise KubeError("not found", 404, "NotFound")
        real = method != "GET" and "dryRun" not in (query or {})
        self.writes += real
        if method == "DELETE":
            return self.secrets.pop(path)
        if method == "GET":
            return self.secrets[path]
        after = copy.deepcopy(body)
        after["metadata"] |= {"uid": "made-at-random", "resourceVersion": str(self.writes)}
        if real:
            self.secrets[path] = after
        return after

    @property
    def tokens(self) -> list[str]:
        return [base64.b64decode(secret["data"]["token"]).decode() for secret in self.secrets.values()]


@pytest.fixture
def cluster(monkeypatch):
    cluster = Cluster()
    monkeypatch.setattr(hf_token_secret, "Kube", lambda kubeconfig, context: cluster)
    return cluster


@pytest.fixture
def run(cluster, hub_server, tmp_path, monkeypatch, capsys):
    """Run the module for Alice; returns its result. Whatever it prints is searched for tokens."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "kubeconfig").touch()

    def run(check=False, **options) -> dict:
        defaults = {"kubeconfig": str(tmp_path / "kubeconfig"), "namespace": "llm-alice", "endpoint": hub_server.url}
        given = {name: value for name, value in (defaults | options).items() if value is not None}
        with patch_module_args(given | {"_ansible_check_mode": check, "_ansible_diff": True}):
            with pytest.raises(SystemExit):
                hf_token_secret.main()
        output = capsys.readouterr().out
        for token in ("token-of", base64.b64encode(b"token-of").decode()[:8]):
            assert token not in output
        return json.loads(output)

    return run


def test_the_token_comes_to_the_cluster_once(run, cluster):
    first = run(token="token-of-alice", labels={"a": "b"})
    assert first["changed"] and (first["user"], first["role"]) == ("alice", "read")
    assert cluster.tokens == ["token-of-alice"]
    secret = cluster.secrets["/api/v1/namespaces/llm-alice/secrets/hf-token"]
    assert secret["metadata"]["labels"] == {"a": "b"}
    assert not run(token="token-of-alice", labels={"a": "b"})["changed"]


def test_another_token_of_the_user_replaces_it_and_the_diff_tells_only_that(run, cluster):
    run(token="token-of-alice")
    result = run(token="token-with-gated-read", user="alice")
    assert result["changed"] and cluster.tokens == ["token-with-gated-read"]
    before, after = (result["diff"][side].partition("token: ")[2].splitlines()[0] for side in ("before", "after"))
    assert before != after and before.startswith("hidden") and after.startswith("hidden")


def test_check_mode_writes_nothing(run, cluster):
    assert run(check=True, token="token-of-alice")["changed"]
    assert run(check=True, token="token-of-alice", namespace="llm-new")["changed"]  # this run would make it
    run(token="token-of-alice")
    assert not run(check=True, token="token-of-alice")["changed"]
    assert run(check=True, state="absent")["changed"]
    assert cluster.writes == 1


def test_check_mode_before_there_is_a_cluster(run, cluster):
    assert run(check=True, token="token-of-alice", kubeconfig="/no/such/kubeconfig")["changed"]
    assert not run(check=True, state="absent", kubeconfig="/no/such/kubeconfig")["changed"]
    assert cluster.writes == 0


def test_a_missing_namespace_is_a_sentence(run):
    result = run(token="token-of-alice", namespace="llm-new")
    assert result["failed"] and "namespace llm-new does not exist" in result["msg"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"token": "nonsense"}, "refuses the token"),
        ({"token": "token-expired"}, "has expired"),
        ({"token": "token-of-bob", "user": "alice"}, "belongs to the hub user bob, not to alice"),
    ],
)
def test_a_token_that_will_not_do_leaves_the_good_one(run, cluster, options, sentence):
    run(token="token-of-alice")
    result = run(**options)
    assert result["failed"] and sentence in result["msg"]
    assert cluster.tokens == ["token-of-alice"] and cluster.writes == 1


def test_an_unreachable_hub_is_a_warning_for_the_token_that_is_there(run, cluster, hub_server):
    run(token="token-of-alice")
    hub_server.faults.append({"status": 503})
    result = run(token="token-of-alice")
    assert not result["changed"] and not result.get("failed")
    assert "holds this token already" in json.dumps(result["warnings"])
    result = run(token="token-of-bob")
    assert result["failed"] and "503" in result["msg"] and cluster.tokens == ["token-of-alice"]


def test_the_environment_and_the_login_give_the_token(run, cluster, tmp_path, monkeypatch):
    assert not run()["changed"]
    (tmp_path / "token").write_text("token-of-alice\n")
    assert run()["user"] == "alice"
    monkeypatch.setenv("HF_TOKEN", "token-of-bob")
    assert run()["user"] == "bob" and cluster.tokens == ["token-of-bob"]


def test_the_token_is_taken_away(run, cluster, hub_server):
    run(token="token-of-alice")
    hub_server.faults.append({"status": 503})  # it is not asked
    assert run(state="absent")["changed"] and cluster.tokens == []
    assert not run(state="absent")["changed"]
