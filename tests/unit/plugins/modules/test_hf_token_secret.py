# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import readers
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, KubeError
from ansible_collections.selfhosted.llm.plugins.modules import hf_token_secret

# In tests/unit/conftest.py
GGUF, GATED, PRIVATE = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "alice/private-model"
# Pods that read the Secret, in each way there is, and one that does not.
READS = {"containers": [{"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "token"}}}]}]}
READS_ALL = {"initContainers": [{"envFrom": [{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "hf-token"}}]}], "containers": [{}]}
READS_NOT = {"containers": [{"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "api-key", "key": "token"}}}]}]}
ALICES_OTHER = "token-with-gated-read"


class Cluster:
    """A cluster with the namespace llm-alice, as far as the module asks it; counts what is really written."""

    def __init__(self):
        self.secrets: dict[str, dict] = {}
        self.workloads: dict[str, list[dict]] = {"deployments": [], "jobs": [], "pods": []}
        self.writes = 0
        self.requests: list[str] = []

    def request(self, method, path, body=None, query=None, content_type=None):
        last = path.rpartition("/")[2]
        self.requests.append(f"{method} {last}")
        if last in self.workloads and method == "GET":
            return {"items": copy.deepcopy(self.workloads[last])}
        if "/namespaces/llm-alice/" not in path or method in ("GET", "DELETE") and path not in self.secrets:
            raise KubeError("not found", 404, "NotFound")
        real = method != "GET" and "dryRun" not in (query or {})
        self.writes += real
        if content_type == MERGE_PATCH:
            return self.suspend(last, **body["spec"])
        if method == "DELETE":
            return self.secrets.pop(path)
        if method == "GET":
            return self.secrets[path]
        after = copy.deepcopy(body)
        written = [{"manager": "another", "time": f"2026-01-02T00:00:{self.writes:02}Z"}]
        after["metadata"] |= {"uid": "made-at-random", "resourceVersion": str(self.writes), "managedFields": written}
        if real:
            self.secrets[path] = after
        return after

    def suspend(self, name: str, suspend: bool) -> dict:
        """What the Job controller makes of a patch."""
        (job,) = [job for job in self.workloads["jobs"] if job["metadata"]["name"] == name]
        job["spec"]["suspend"] = suspend
        pods = self.workloads["pods"]
        pods[:] = [pod for pod in pods if _owner(pod) != name or pod["status"]["phase"] == "Succeeded"]
        if not suspend:
            self.pod(f"{name}-again", job["spec"]["template"]["spec"], owner=name, created="2026-01-02T00:01:00Z")
        return job

    def pod(self, name: str, spec: dict, owner: str = "", phase: str = "Running", created: str = "2026-01-01T00:00:00Z") -> None:
        owners = [{"controller": True, "uid": f"uid-of-{owner}"}] if owner else []
        metadata = {"name": name, "ownerReferences": owners, "creationTimestamp": created}
        self.workloads["pods"].append({"metadata": metadata, "spec": spec, "status": {"phase": phase}})

    def job(self, deployment: str, phase: str | None = "Running", condition: str = "", spec: dict = READS, **more) -> None:
        """A download, and its pod in this phase."""
        metadata = {"name": f"{deployment}-1", "uid": f"uid-of-{deployment}-1", "namespace": "llm-alice", "labels": {INSTANCE: deployment}}
        conditions = [{"type": condition, "status": "True"}] if condition else []
        job = {"metadata": metadata, "spec": {"template": {"spec": spec}, **more}, "status": {"conditions": conditions}}
        self.workloads["jobs"].append(job)
        if phase:
            self.pod(f"{deployment}-1-a", spec, f"{deployment}-1", phase)

    def deployment(self, name: str, repo: str) -> None:
        self.workloads["deployments"].append({"metadata": {"name": name, "annotations": {"selfhosted.llm/model": f"{repo}@0123456"}}})

    @property
    def names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.workloads["pods"]]

    @property
    def secret(self) -> dict:
        return self.secrets["/api/v1/namespaces/llm-alice/secrets/hf-token"]

    @property
    def tokens(self) -> list[str]:
        return [base64.b64decode(secret["data"]["token"]).decode() for secret in self.secrets.values()]


def _owner(pod: dict) -> str | None:
    return next((owner["uid"].removeprefix("uid-of-") for owner in pod["metadata"]["ownerReferences"]), None)


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
        output = "".join(capsys.readouterr())
        for token in ("token-of", "token-with", "token-expir"):
            assert token not in output and base64.b64encode(token.encode()).decode()[:8] not in output
        return json.loads(output)

    return run


def test_the_token_comes_to_the_cluster_once(run, cluster):
    first = run(token="token-of-alice", labels={"a": "b"})
    assert first["changed"] and (first["user"], first["role"]) == ("alice", "read")
    assert cluster.tokens == ["token-of-alice"]
    assert first["outcome"] == "created" and "expires" not in first
    metadata = cluster.secret["metadata"]
    assert (metadata["labels"], metadata["annotations"]) == ({"a": "b"}, {"selfhosted.llm/hub-user": "alice"})
    again = run(token="token-of-alice", labels={"a": "b"})
    assert not again["changed"] and again["outcome"] == "kept"


def test_a_token_that_stays_costs_one_question(run, cluster, hub_server):
    run(token="token-of-alice")
    cluster.deployment("alice-llama", GATED)
    cluster.job("alice-llama")
    hub_server.forget()
    cluster.requests.clear()
    run(token="token-of-alice", repositories={"alice-chat": GGUF})
    assert hub_server.calls() == {"routes": {"whoami-v2": 1}, "repositories": {}}
    assert [request for request in cluster.requests if request.startswith("GET")] == ["GET hf-token"]


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
        ({"token": "token-of-bob"}, "llm-alice/hf-token holds a token of alice: is HF_TOKEN somebody else's?"),
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
    assert cluster.secret["metadata"]["annotations"] == {"selfhosted.llm/hub-user": "alice"}
    result = run(token="token-of-bob")
    assert result["failed"] and "503" in result["msg"] and cluster.tokens == ["token-of-alice"]


def test_the_environment_and_the_login_give_the_token(run, cluster, tmp_path, monkeypatch):
    assert not run()["changed"]
    (tmp_path / "token").write_text("token-of-alice\n")
    assert run()["user"] == "alice"
    monkeypatch.setenv("HF_TOKEN", "token-of-bob")
    assert run(user="bob")["user"] == "bob" and cluster.tokens == ["token-of-bob"]
    assert cluster.secret["metadata"]["annotations"] == {"selfhosted.llm/hub-user": "bob"}


def test_the_token_is_taken_away(run, cluster, hub_server):
    run(token="token-of-alice")
    hub_server.faults.append({"status": 503})  # it is not asked
    assert run(state="absent")["changed"] and cluster.tokens == []
    assert not run(state="absent")["changed"]


def test_a_token_that_ends_soon_is_a_warning(run):
    result = run(token="token-expiring")
    assert datetime.fromisoformat(result["expires"]) > datetime.now(UTC)
    assert "in 4 days: make a new one" in json.dumps(result["warnings"])


def test_a_token_that_does_not_open_all_repositories_in_use_is_refused_with_all_of_them(run, cluster, hub_server):
    run(token="token-of-alice")
    cluster.deployment("alice-llama", GATED)
    cluster.deployment("alice-chat", GGUF)
    cluster.job("alice-llama")
    refused = run(token="token-without-gated-read", repositories={"alice-new": GATED, "alice-mine": PRIVATE, "alice-odd": "no/such"})
    assert refused["failed"] and "alice-llama, alice-new: meta-llama/Llama-3.1-8B-Instruct is gated, and the token" in refused["msg"]
    assert "alice-odd: The hub shows no repository no/such" in refused["msg"] and "alice-chat" not in refused["msg"]
    hub_server.faults.append({"path": f"/api/models/{GGUF}/*", "status": 503})
    assert "alice-chat: The hub at" in run(token=ALICES_OTHER)["msg"]
    hub_server.faults.clear()
    assert cluster.tokens == ["token-of-alice"] and cluster.writes == 1 and cluster.names == ["alice-llama-1-a"]
    hub_server.forget()
    assert run(token=ALICES_OTHER, repositories={"alice-mine": PRIVATE})["changed"]
    assert hub_server.calls()["routes"] == {"whoami-v2": 1, "auth-check": 3}


def test_the_first_token_must_open_the_repositories_too(run, cluster):
    for place in ({}, {"check": True, "kubeconfig": "/no/such"}):
        refused = run(token="token-without-gated-read", repositories={"alice-new": GATED}, **place)
        assert refused["failed"] and "alice-new: " in refused["msg"]
    assert not cluster.writes


@pytest.fixture
def busy(run, cluster):
    """Deployments in every state, and pods of others."""
    run(token="token-of-alice")
    cluster.writes = 0
    cluster.deployment("alice-chat", GGUF)
    cluster.job("alice-chat", "Succeeded", "Complete")
    cluster.job("alice-loading")
    cluster.job("alice-init", "Pending", spec=READS_ALL)
    cluster.job("alice-failed", None, "Failed")
    cluster.job("alice-waiting", None)
    cluster.job("alice-paused", None, suspend=True)
    cluster.job("alice-other", spec=READS_NOT)
    cluster.pod("notebook", READS)
    cluster.pod("finished", READS, phase="Failed")
    cluster.pod("stranger", READS_NOT)
    return cluster


def test_a_new_token_restarts_who_has_the_old_one_and_nothing_else(run, busy):
    before = busy.names
    planned = run(check=True, token=ALICES_OTHER)
    assert busy.names == before and not busy.writes and busy.tokens == ["token-of-alice"]
    result = run(token=ALICES_OTHER)
    assert {name: result[name] for name in ("restarted", "not_restarted", "outcome")} == {
        name: planned[name] for name in ("restarted", "not_restarted", "outcome")
    }
    assert [(entry["deployment"], entry["pod"]) for entry in result["restarted"]] == [
        ("alice-loading", "alice-loading-1-a"),
        ("alice-init", "alice-init-1-a"),
    ]
    why = {entry["deployment"]: entry["why"] for entry in result["not_restarted"]}
    assert why.keys() == {"alice-chat", "alice-failed", "alice-waiting", "alice-paused", None}
    assert why["alice-chat"] == "its weights are on its volume" and "none of this collection's" in why[None]
    assert {*busy.names} ^ {*before} == {
        name for one in ("alice-loading-1", "alice-init-1") for name in (f"{one}-a", f"{one}-again")
    }
    assert "selfhosted.llm/restarting" not in busy.secret["metadata"]["annotations"]
    assert "restarting" not in json.dumps(result["diff"])
    assert run(token=ALICES_OTHER)["restarted"] == []


def test_an_interrupted_restart_is_taken_up_by_the_next_run(run, busy, monkeypatch):
    real = busy.suspend

    def suspend(name: str, suspend: bool) -> dict:
        if (name, suspend) == ("alice-init-1", False):
            raise KubeError("The cluster does not answer.")
        return real(name, suspend)

    with monkeypatch.context() as patch:
        patch.setattr(busy, "suspend", suspend)
        assert run(token=ALICES_OTHER)["msg"] == "The cluster does not answer."
    assert busy.tokens == [ALICES_OTHER] and not [name for name in busy.names if name.startswith("alice-init")]
    planned, pods = run(check=True, token=ALICES_OTHER), busy.names
    assert planned["changed"] and busy.names == pods
    result = run(token=ALICES_OTHER)
    assert (result["changed"], result["outcome"], result["restarted"]) == (True, "kept", planned["restarted"])
    restarted = {entry["deployment"]: entry["why"] for entry in result["restarted"]}
    # Whose suspended Job is whose cannot be told any more.
    assert restarted == dict.fromkeys(("alice-init", "alice-paused"), "an interrupted rotation had stopped its download")
    left = {entry["deployment"]: entry["why"] for entry in result["not_restarted"]}
    assert left["alice-loading"] == "it was started with the new token"
    assert "alice-init-1-again" in busy.names and busy.names.count("alice-loading-1-again") == 1
    assert not run(token=ALICES_OTHER)["changed"]


def test_a_pod_that_does_not_end_is_a_sentence_and_its_job_goes_on(run, busy, monkeypatch):
    monkeypatch.setattr(readers, "LIMIT", 0)
    monkeypatch.setattr(busy, "suspend", lambda name, suspend: busy.requests.append(f"{name} {suspend}"))
    assert "alice-loading-1-a, alice-init-1-a. Are their nodes ready?" in run(token=ALICES_OTHER)["msg"]
    assert busy.requests[-1].endswith(" False")


def test_a_download_that_goes_meanwhile_is_no_error(run, busy, monkeypatch):
    def gone(name: str, suspend: bool) -> dict:
        busy.workloads["pods"] = [pod for pod in busy.workloads["pods"] if _owner(pod) != name]
        raise KubeError("not found", 404, "NotFound")

    monkeypatch.setattr(busy, "suspend", gone)
    assert run(token=ALICES_OTHER)["changed"] and busy.tokens == [ALICES_OTHER]


def test_what_repeats_the_token_is_hidden_in_the_diff(run, cluster):
    run(token="token-of-alice")
    cluster.secret["metadata"]["annotations"]["last-applied"] = json.dumps(cluster.secret["data"])
    assert run(token=ALICES_OTHER)["diff"]  # searched for tokens by the fixture
