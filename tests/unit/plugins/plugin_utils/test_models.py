# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import hub
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.plugin_utils import models

# In tests/unit/conftest.py
GGUF, GATED = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct"
GONE = "http://127.0.0.1:9"


@pytest.fixture
def find(hub_server):
    """Find the model of one deployment; returns what was found, or the error."""

    def find(model=GGUF, engine="llama_cpp", jobs=(), **values):
        defaults = {"llm_model": model, "llm_revision": "main", "llm_hub": hub_server.url, "llm_locks": None}
        wanted = models.Wanted("alice-chat", engine, defaults | {"llm_hf_token": "token-of-alice"} | values)
        return models.find([wanted], {"alice-chat": list(jobs)})["alice-chat"]

    return find


def job(found: models.Found, asked: str, complete: bool = True) -> dict:
    """The download Job of what was found, as it is on the cluster."""
    environment = {
        "LLM_REPO": found.snapshot.repo,
        "LLM_COMMIT": found.snapshot.commit,
        "LLM_FILES": json.dumps([file._asdict() for file in found.weights.files]),
    }
    container = {"env": [{"name": name, "value": value} for name, value in environment.items()] + [{"name": "HF_TOKEN", "valueFrom": {}}]}
    return {
        "kind": "Job",
        "metadata": {"name": "alice-chat-1", "annotations": {models.ASKED: asked}},
        "spec": {"template": {"spec": {"containers": [container]}}},
        "status": {"conditions": [{"type": "Complete", "status": "True"}] if complete else []},
    }


def lock(found: models.Found, **changes) -> dict:
    """The lock of what was found."""
    files = [{"path": file.path, "size": file.size, "sha256": "0" * 64} for file in found.weights.files]
    entry = {"engine": "llama_cpp", "model": GGUF, "revision": "main", "repo": GGUF, "commit": found.snapshot.commit, "licence": "mit"}
    return {"alice-chat": entry | {"files": files} | changes}


def test_a_model_is_taken_as_the_hub_shows_it(find):
    found = find()
    assert found.weights.first_file == "chat-Q4_K_M.gguf" and found.note == ""


def test_without_the_hub_it_stays_as_the_cluster_has_it(find):
    before = find()
    after = find(llm_hub=GONE, jobs=[job(before, f"llama_cpp {GGUF}@main")])
    assert after.weights == before.weights and "stays at org/chat-GGUF@" in after.note and "does not answer" in after.note


@pytest.mark.parametrize("asked", [f"llama_cpp {GGUF}:Q8_0@main", f"llama_cpp {GGUF}@v2", f"tgi {GGUF}@main"])
def test_without_the_hub_something_else_cannot_be_had(find, asked):
    assert "does not answer" in str(find(llm_hub=GONE, jobs=[job(find(), asked)]))


def test_a_refusal_is_no_outage(find):
    jobs = [job(find(), f"llama_cpp {GGUF}@main")]
    assert find(llm_hf_token="token-expired", jobs=jobs).kind == "expired_token"


def test_a_locked_model_stays_and_its_drift_is_said(find, hub_server):
    before = find()
    assert find(llm_locks=lock(before)).note == ""
    (hub_server.tree.root / GGUF / "more.txt").write_text("new")
    after = find(llm_locks=lock(before))
    assert after.snapshot.commit == before.snapshot.commit and [file.sha256 for file in after.weights.files] == ["0" * 64]
    assert f"main is at {find().snapshot.commit[:7]} now, locked is {before.snapshot.commit[:7]}" in after.note


def test_a_locked_model_needs_no_hub(find):
    assert find(llm_hub=GONE, llm_locks=lock(find())).note == ""


def test_a_locked_model_that_is_in_place_needs_no_access(find):
    before = find()
    refused = {"llm_hf_token": "token-expired", "llm_locks": lock(before)}
    assert find(**refused).kind == "expired_token"
    assert find(**refused, jobs=[job(before, "", complete=False)]).kind == "expired_token"
    assert find(**refused, jobs=[job(before, "")]).snapshot.commit == before.snapshot.commit


@pytest.mark.parametrize("change", [{"llm_model": f"{GGUF}:Q8_0"}, {"llm_revision": "v2"}, {"engine": "tgi"}])
def test_a_lock_of_something_else_is_refused(find, change):
    error = find(llm_locks=lock(find()), **change)
    assert isinstance(error, UserError) and "locked as llama_cpp org/chat-GGUF@main" in str(error) and "lock.yml" in str(error)


@pytest.mark.parametrize("changes", [{"files": [{"path": "a"}]}, {"files": None}, {"commit": None, "files": 3}])
def test_a_lock_that_was_spoilt_by_hand_is_a_sentence(find, changes):
    assert "not as it was written" in str(find(llm_locks=lock(find(), **changes)))


def test_a_model_that_cannot_be_had_hides_no_other(hub_server):
    values = {"llm_revision": "main", "llm_hub": hub_server.url, "llm_hf_token": "token-without-licence", "llm_locks": None}
    wanted = [
        models.Wanted(name, engine, values | {"llm_model": model})
        for name, engine, model in (("a", "llama_cpp", GGUF), ("b", "tgi", GATED), ("c", "tgi", "nonsense"))
    ]
    found = models.find(wanted, {"a": [], "b": [], "c": []})
    assert isinstance(found["a"], models.Found)
    assert (found["b"].kind, found["c"].kind) == ("licence_not_accepted", "bad_model")


def test_small_files_are_fetched_for_their_sha256(hub_server):
    question = hub.Question(hub_server.url, "token-of-alice", GATED, "main")
    snapshot = hub.resolve(*question)
    small = next(file for file in snapshot.files if file.path == "config.json")
    digest = hub.sha256_of(question, snapshot.commit, small)
    assert digest == hub_server.tree.files(GATED)["config.json"].sha256 and hub_server.calls()["routes"]["resolve"] == 1
    hub_server.faults.append({"path": "*/config.json", "corrupt": True})
    with pytest.raises(hub.HubError, match="wrong content"):
        hub.sha256_of(question, snapshot.commit, small)
