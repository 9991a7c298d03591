# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub stand-in is what the unchanged client library takes for the hub."""

from __future__ import annotations

import hashlib
import io
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest
from huggingface_hub import HfApi, errors, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

# In tests/unit/conftest.py
GGUF, GATED, PRIVATE = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "alice/private-model"
WEIGHTS = "chat-Q4_K_M.gguf"


@pytest.fixture
def weights(hub_server):
    return (hub_server.tree.root / GGUF / WEIGHTS).read_bytes()


@pytest.fixture
def api(hub_server):
    return lambda token: HfApi(endpoint=hub_server.url, token=token or False)


@pytest.mark.parametrize(
    ("token", "user", "role"),
    [
        ("token-of-alice", "alice", "read"),
        ("token-of-bob", "bob", "read"),
        ("token-without-gated-read", "alice", "fineGrained"),
    ],
)
def test_a_token_is_its_users(api, token, user, role):
    account = api(token).whoami()
    assert (account["name"], account["auth"]["accessToken"]["role"]) == (user, role)


def test_a_token_with_an_end_says_when(api):
    assert datetime.fromisoformat(api("token-expiring").whoami()["auth"]["expiresAt"]) > datetime.now(UTC)
    assert "expiresAt" not in api("token-of-alice").whoami()["auth"]


@pytest.mark.parametrize(("token", "message"), [("nonsense", "Invalid credentials"), ("token-expired", "is expired")])
def test_bad_tokens_are_refused_everywhere(api, token, message):
    for question in (lambda: api(token).whoami(), lambda: api(token).model_info(GGUF)):
        with pytest.raises(errors.HfHubHTTPError) as caught:
            question()
        assert caught.value.response.status_code == 401
        assert message in caught.value.response.headers["X-Error-Message"]


def test_files_have_their_real_sizes_and_hashes(api, weights):
    info = api(None).model_info(GGUF, files_metadata=True)
    listed = {entry.rfilename: entry for entry in info.siblings}
    assert listed[WEIGHTS].size == listed[WEIGHTS].lfs.size == len(weights)
    assert listed[WEIGHTS].lfs.sha256 == hashlib.sha256(weights).hexdigest()
    assert listed["README.md"].lfs is None
    # git hash-object of "# chat\n"
    assert listed["README.md"].blob_id == hashlib.sha1(b"blob 7\0# chat\n").hexdigest()
    assert api(None).model_info(GGUF).siblings[0].size is None


def test_a_commit_is_its_files(api, hub_server):
    first = api(None).model_info(GGUF).sha
    assert api(None).model_info(GGUF, revision=first).sha == first
    assert api(None).list_repo_refs(GGUF).branches[0].target_commit == first
    (hub_server.tree.root / GGUF / "README.md").write_text("# another\n")
    assert api(None).model_info(GGUF).sha != first
    with pytest.raises(errors.RevisionNotFoundError):
        api(None).model_info(GGUF, revision=first)


def test_the_tree_lists_folders_and_files(api):
    assert {entry.path for entry in api(None).list_repo_tree(GGUF)} > {"F16", WEIGHTS}
    assert "F16/chat-f16.gguf" not in {entry.path for entry in api(None).list_repo_tree(GGUF)}
    assert "F16/chat-f16.gguf" in {entry.path for entry in api(None).list_repo_tree(GGUF, recursive=True)}


@pytest.mark.parametrize(
    ("token", "repo", "error", "status"),
    [
        (None, GATED, errors.GatedRepoError, 401),
        ("token-without-licence", GATED, errors.GatedRepoError, 403),
        ("token-awaiting-review", GATED, errors.GatedRepoError, 403),
        ("token-without-gated-read", GATED, errors.HfHubHTTPError, 403),
        (None, PRIVATE, errors.RepositoryNotFoundError, 401),
        ("token-of-bob", PRIVATE, errors.RepositoryNotFoundError, 404),
        (None, "no/such", errors.RepositoryNotFoundError, 401),
        ("token-of-bob", "no/such", errors.RepositoryNotFoundError, 404),
    ],
)
def test_access_is_refused_as_the_hub_refuses_it(api, token, repo, error, status):
    def fetch(repo):
        url = hf_hub_url(repo, "model.safetensors", endpoint=api(token).endpoint)
        http_get(url, io.BytesIO(), headers=build_hf_headers(token=token or False))

    for question in (api(token).auth_check, fetch):
        with pytest.raises(error) as caught:
            question(repo)
        assert (type(caught.value), caught.value.response.status_code) == (error, status)


def test_access_is_given_to_those_who_have_it(api):
    for token in ("token-of-alice", "token-of-bob", "token-with-gated-read"):
        api(token).auth_check(GATED)
    api("token-of-alice").auth_check(PRIVATE)
    api(None).auth_check(GGUF)
    assert api(None).model_info(GATED).gated == "manual"  # the listing is open to all


def test_missing_files_are_told_from_missing_repositories(api):
    with pytest.raises(errors.RemoteEntryNotFoundError):
        api(None).hf_hub_download(GGUF, "missing.gguf")


def test_a_snapshot_arrives_whole(hub_server, tmp_path):
    place = snapshot_download(GATED, endpoint=hub_server.url, token="token-of-alice", local_dir=tmp_path / "snapshot")
    for name in ("config.json", "model.safetensors", "original/consolidated.00.pth"):
        assert (tmp_path / "snapshot" / name).read_bytes() == (hub_server.tree.root / GATED / name).read_bytes()
    assert place == str(tmp_path / "snapshot")


def test_an_interrupted_file_is_resumed_by_range(hub_server, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    hub_server.faults.append({"path": f"*/{WEIGHTS}", "times": 1, "truncate": 300_000})
    path = hf_hub_download(GGUF, WEIGHTS, endpoint=hub_server.url, token=False, local_dir=tmp_path / "one")
    assert open(path, "rb").read() == weights
    assert hub_server.calls()["repositories"][GGUF]["bytes"] == len(weights)  # none was sent twice

    rest = io.BytesIO()
    http_get(hf_hub_url(GGUF, WEIGHTS, endpoint=hub_server.url), rest, resume_size=1_000_000)
    assert rest.getvalue() == weights[1_000_000:]


def test_a_licence_is_that_of_the_readme(api, hub_server):
    assert api(None).model_info(GGUF).card_data is None
    (hub_server.tree.root / GGUF / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: mit\n")
    info = api(None).model_info(GGUF)
    assert info.card_data.license == "apache-2.0" and info.tags == ["license:apache-2.0"]


def test_a_connection_is_reset(hub_server, weights):
    hub_server.faults.append({"reset": 300_000})
    answer = urllib.request.urlopen(f"{hub_server.url}/{GGUF}/resolve/main/{WEIGHTS}")
    with pytest.raises(ConnectionResetError):
        answer.read()
    assert hub_server.calls()["repositories"][GGUF]["bytes"] == 300_000


def test_a_client_is_told_to_wait(hub_server):
    hub_server.faults.append({"status": 429, "retry_after": 30})
    with pytest.raises(urllib.error.HTTPError, match="429") as caught:
        urllib.request.urlopen(hub_server.url + f"/{GGUF}/resolve/main/README.md")
    assert caught.value.headers["Retry-After"] == "30"


def test_faults_are_made_and_removed_by_route(hub_server):
    def ask(method, route, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(hub_server.url + route, data, method=method)) as answer:
            return json.load(answer)

    address = f"/{GGUF}/resolve/main/README.md"
    ask("POST", "/sandbox/faults", {"path": "*/README.md", "status": 503, "times": 1})
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(hub_server.url + address)
    ask("POST", "/sandbox/faults", [{"corrupt": True}, {"delay": 0.01}])
    assert urllib.request.urlopen(hub_server.url + address).read() == b"\x22 chat\n"
    ask("DELETE", "/sandbox/faults")
    assert urllib.request.urlopen(hub_server.url + address).read() == b"# chat\n"
    calls = {"routes": {"resolve": 2}, "repositories": {GGUF: {"requests": 2, "bytes": 14, "files": 14}}}
    assert ask("GET", "/sandbox/calls") == calls
    assert ask("DELETE", "/sandbox/calls") == {}
    assert ask("GET", "/sandbox/calls")["repositories"] == {}

