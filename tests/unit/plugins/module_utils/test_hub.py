# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import hub
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError

# In tests/unit/conftest.py
GGUF, GATED, PRIVATE = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "alice/private-model"


def error_of(function, *arguments) -> hub.HubError:
    with pytest.raises(hub.HubError) as caught:
        function(*arguments)
    return caught.value


def test_the_token_given_comes_first_then_the_environment_then_the_login(hub_server, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert hub.find_token() is None
    (tmp_path / "token").write_text("token-of-login\n")
    assert hub.find_token("") == "token-of-login"
    monkeypatch.setenv("HF_TOKEN", "token-of-environment")
    assert hub.find_token() == "token-of-environment"
    assert hub.find_token("token-given\n") == "token-given"


def test_whose_a_token_is(hub_server):
    assert hub.whoami(hub_server.url, "token-of-alice") == hub.Account("alice", "read")
    assert hub.whoami(f"{hub_server.url}/", "token-without-gated-read") == hub.Account("alice", "fineGrained")
    assert hub_server.calls()["routes"] == {"whoami-v2": 2}  # and nothing that was not asked for


@pytest.mark.parametrize(
    ("token", "kind", "cure"),
    [
        ("token-nonsense", "bad_token", "wrong or was revoked"),
        ("token-expired", "expired_token", "make a new one"),
        ("token with\nbreak", "bad_token", "no token has"),
    ],
)
def test_a_bad_token_is_never_shown(hub_server, token, kind, cure):
    for question, rest in ((hub.whoami, ()), (hub.resolve, (GGUF, "main"))):
        error = error_of(question, hub_server.url, token, *rest)
        assert error.kind == kind and cure in str(error)
        assert "token-" not in str(error) and "break" not in str(error).replace("line break", "")


def test_a_repository_is_its_files_at_a_commit(hub_server):
    found = hub.resolve(hub_server.url, None, GGUF, "main")
    content = (hub_server.tree.root / GGUF / "chat-Q4_K_M.gguf").read_bytes()
    assert hub.File("chat-Q4_K_M.gguf", len(content), hashlib.sha256(content).hexdigest()) in found.files
    assert hub.File("README.md", 7, git_sha1=hashlib.sha1(b"blob 7\0# chat\n").hexdigest()) in found.files
    assert hub.resolve(hub_server.url, None, GGUF, found.commit) == found and not found.gated
    assert hub_server.calls()["routes"] == {"info": 2}


@pytest.mark.parametrize(
    ("token", "repo"), [("token-of-alice", GATED), ("token-with-gated-read", GATED), ("token-of-alice", PRIVATE)]
)
def test_who_has_access_sees_what_is_closed_to_others(hub_server, token, repo):
    found = hub.resolve(hub_server.url, token, repo, "main")
    assert found.gated == (repo == GATED) and "model.safetensors" in {file.path for file in found.files}


@pytest.mark.parametrize(
    ("token", "repo", "revision", "kind", "cure"),
    [
        (None, GATED, "main", "no_token", f"/{GATED}, make a token on http"),
        ("token-without-licence", GATED, "main", "licence_not_accepted", f"/{GATED}."),
        ("token-awaiting-review", GATED, "main", "access_pending", "not granted yet"),
        ("token-without-gated-read", GATED, "main", "no_gated_right", "/settings/tokens"),
        (None, PRIVATE, "main", "no_such_repository", "without a token"),
        ("token-of-bob", PRIVATE, "main", "no_such_repository", "private?"),
        ("token-of-bob", "no/such", "main", "no_such_repository", "spelled right"),
        (None, GGUF, "no/such", "no_such_revision", "llm_revision"),
    ],
)
def test_each_refusal_names_its_cure(hub_server, token, repo, revision, kind, cure):
    error = error_of(hub.resolve, hub_server.url, token, repo, revision)
    assert error.kind == kind and cure in str(error) and repo in str(error)
    assert "\n" not in str(error) and (token or "token-") not in str(error)


def test_a_token_without_the_right_to_a_repository(hub_server):
    hub_server.faults.append({"status": 403})
    error = error_of(hub.resolve, hub_server.url, "token-of-alice", PRIVATE, "main")
    assert error.kind == "no_right" and "/settings/tokens" in str(error)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "ftp://127.0.0.1", "nonsense", "http://127.0.0.1:port", "http://[", ""]
)
def test_a_hub_that_does_not_answer(address):
    error = error_of(hub.whoami, address, "token-of-alice")
    assert error.kind == "unreachable" and "llm_hub" in str(error) and "token-of-alice" not in str(error)


@pytest.fixture
def waits(monkeypatch):
    """The waits between tries, in seconds; none is waited for."""
    waited = []
    monkeypatch.setattr(hub, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_asked_again_and_then_given_up(hub_server, waits, status):
    hub_server.faults.append({"status": status})
    error = error_of(hub.whoami, hub_server.url, "token-of-alice")
    assert error.kind == "unreachable" and str(status) in str(error) and waits == [1, 3]
    hub_server.faults[0]["times"] = 2
    assert hub.whoami(hub_server.url, "token-of-alice").name == "alice"


def test_a_hub_that_says_when_is_asked_then_if_that_is_soon(hub_server, waits):
    hub_server.faults.append({"status": 429, "retry_after": 7, "times": 1})
    assert hub.whoami(hub_server.url, "token-of-alice").name == "alice" and waits == [7]
    hub_server.faults.append({"status": 429, "retry_after": 300})
    assert "Try again in 300 s" in str(error_of(hub.whoami, hub_server.url, "token-of-alice")) and waits == [7]


def test_many_questions_are_asked_at_once_and_each_once(hub_server):
    def ask(repo: str, endpoint: str = hub_server.url) -> hub.Question:
        return hub.Question(endpoint, None, repo, "main")

    answers = hub.resolve_all([ask(GGUF), ask("no/such"), ask(GGUF), ask(GATED)])
    assert len(answers) == 3 and answers[ask(GGUF)].repo == GGUF
    assert (answers[ask("no/such")].kind, answers[ask(GATED)].kind) == ("no_such_repository", "no_token")
    assert hub_server.calls()["routes"] == {"info": 3, "auth-check": 1}


def test_a_hub_that_is_not_there_is_not_waited_for_by_each_question(monkeypatch):
    asked = []

    def resolve(*question):
        asked.append(question)
        raise hub.HubError("unreachable", "gone")

    monkeypatch.setattr(hub, "resolve", resolve)
    monkeypatch.setattr(hub, "THREADS", 2)
    questions = [hub.Question("http://hub", None, f"org/{number}", "main") for number in range(50)]
    assert {error.kind for error in hub.resolve_all(questions).values()} == {"unreachable"}
    assert len(asked) <= 2


def test_something_else_than_a_hub(hub_server):
    error = error_of(hub.resolve, f"{hub_server.url}/elsewhere", None, GGUF, "main")
    assert error.kind == "unreachable" and "404" in str(error)


def test_a_missing_library_is_a_sentence_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", None)
    with pytest.raises(UserError, match=re.escape(f"{sys.executable} -m pip install huggingface_hub")):
        hub.find_token()


def test_the_slow_part_of_the_library_is_not_imported(hub_server):
    program = (
        "import sys; from ansible_collections.selfhosted.llm.plugins.module_utils import hub;"
        "assert 'huggingface_hub' not in sys.modules;"
        f"hub.whoami('{hub_server.url}', 'token-of-alice'); assert 'huggingface_hub.hf_api' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
