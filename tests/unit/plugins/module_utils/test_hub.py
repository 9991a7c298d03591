# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import hub
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError

# In tests/unit/conftest.py
GGUF, GATED, PRIVATE = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "alice/private-model"


def error_of(function, *arguments) -> hub.HubError:
    with pytest.raises(hub.HubError) as caught:
        function(*arguments)
    return caught.value


def paths(files) -> list[str]:
    return [file.path for file in files]


def snapshot(*listed: str) -> hub.Snapshot:
    """A repository with files of 1 GB, or of as many GB as stands behind a space."""
    pairs = ((*line.split(), "1")[:2] for line in listed)
    return hub.Snapshot("org/repo", "c" * 40, False, tuple(hub.File(path, int(gb) * 10**9, None) for path, gb in pairs))


@pytest.mark.parametrize(
    ("model", "parts"),
    [("org/repo", ("org/repo", None)), ("org/repo-1.5:Q4_1", ("org/repo-1.5", "Q4_1"))],
)
def test_a_model_is_a_repository_and_a_quantisation(model, parts):
    assert hub.parse_model(model) == parts


@pytest.mark.parametrize("model", ["repo", "a/b/c", "org/repo:", "https://huggingface.co/org/repo", "", "org/re po"])
def test_other_forms_of_a_model_are_refused(model):
    assert error_of(hub.parse_model, model).kind == "bad_model"


def test_the_token_given_comes_first_then_the_environment_then_the_login(hub_server, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert hub.find_token() is None
    (tmp_path / "token").write_text("token-of-login\n")
    assert hub.find_token("") == "token-of-login"
    monkeypatch.setenv("HF_TOKEN", "token-of-environment")
    assert hub.find_token() == "token-of-environment"
    assert hub.find_token("token-given\n") == "token-given"


def test_whose_a_token_is(hub_server):
    assert hub.whoami(hub_server.url, "token-of-alice") == hub.Account("alice", "read", True)
    assert hub.whoami(f"{hub_server.url}/", "token-without-gated-read") == hub.Account("alice", "fineGrained", False)
    assert hub_server.calls()["routes"] == {"whoami-v2": 2}  # and nothing that was not asked for


@pytest.mark.parametrize(
    ("token", "cure"),
    [
        ("token-nonsense", "wrong or was revoked"),
        ("token-expired", "has expired"),
        ("token with\nbreak", "no token has"),
    ],
)
def test_a_bad_token_is_never_shown(hub_server, token, cure):
    for question, rest in ((hub.whoami, ()), (hub.resolve, (GGUF, "main"))):
        error = error_of(question, hub_server.url, token, *rest)
        assert error.kind == "bad_token" and cure in str(error)
        assert "token-" not in str(error) and "break" not in str(error).replace("line break", "")


def test_a_repository_is_its_files_at_a_commit(hub_server):
    found = hub.resolve(hub_server.url, None, GGUF, "main")
    content = (hub_server.tree.root / GGUF / "chat-Q4_K_M.gguf").read_bytes()
    assert hub.File("chat-Q4_K_M.gguf", len(content), hashlib.sha256(content).hexdigest()) in found.files
    assert hub.File("README.md", 7, None) in found.files
    assert hub.resolve(hub_server.url, None, GGUF, found.commit) == found and not found.gated
    assert hub_server.calls()["routes"] == {"info": 2}


@pytest.mark.parametrize(
    ("token", "repo"), [("token-of-alice", GATED), ("token-with-gated-read", GATED), ("token-of-alice", PRIVATE)]
)
def test_who_has_access_sees_what_is_closed_to_others(hub_server, token, repo):
    found = hub.resolve(hub_server.url, token, repo, "main")
    assert found.gated == (repo == GATED) and "model.safetensors" in paths(found.files)


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


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "ftp://127.0.0.1", "nonsense", "http://127.0.0.1:port", "http://[", ""]
)
def test_a_hub_that_does_not_answer(address):
    error = error_of(hub.whoami, address, "token-of-alice")
    assert error.kind == "unreachable" and "llm_hub" in str(error) and "token-of-alice" not in str(error)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble(hub_server, status):
    hub_server.faults.append({"status": status})
    error = error_of(hub.whoami, hub_server.url, "token-of-alice")
    assert error.kind == "unreachable" and str(status) in str(error)


def test_something_else_than_a_hub(hub_server):
    error = error_of(hub.resolve, f"{hub_server.url}/elsewhere", None, GGUF, "main")
    assert error.kind == "unreachable" and "404" in str(error)


QUANTS = snapshot(
    "Model-Q4_K_M.gguf 4", "Model-UD-Q4_K_M.gguf 5", "Model-IQ4_XS.gguf 3", "mmproj-F16.gguf", "imatrix.gguf",
    "model.q5_0.gguf", "BF16/Model-BF16-00001-of-00002.gguf 9", "BF16/Model-BF16-00002-of-00002.gguf 7",
    "config.json",
)  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "files"),
    [
        (None, ["Model-Q4_K_M.gguf"]),
        ("q4_k_m", ["Model-Q4_K_M.gguf"]),
        ("UD-Q4_K_M", ["Model-UD-Q4_K_M.gguf"]),
        ("Q5_0", ["model.q5_0.gguf"]),
        ("BF16", ["BF16/Model-BF16-00001-of-00002.gguf", "BF16/Model-BF16-00002-of-00002.gguf"]),
        ("Model-IQ4_XS", ["Model-IQ4_XS.gguf"]),
    ],
)
def test_llama_cpp_gets_one_quantisation_with_all_its_parts(quant, files):
    assert paths(hub.select_files("llama_cpp", QUANTS, quant)) == files


@pytest.mark.parametrize("quant", ["Q4_XS", "Q8_0", "F16", "GGUF"])
def test_a_quantisation_that_is_not_there_is_answered_with_those_that_are(quant):
    error = error_of(hub.select_files, "llama_cpp", QUANTS, quant)
    assert error.kind == "no_such_file"
    assert "it has Q4_K_M (4 GB), UD-Q4_K_M (5 GB), IQ4_XS (3 GB), q5_0 (1 GB), BF16 (16 GB)" in str(error)


def test_two_models_in_one_repository_are_told_apart_by_more_of_the_name():
    both = snapshot("small-1b-Q4_K_M.gguf", "large-8b-Q4_K_M.gguf 5")
    error = error_of(hub.select_files, "llama_cpp", both, None)
    assert "several" in str(error) and "large-8b-Q4_K_M (5 GB)" in str(error)
    assert paths(hub.select_files("llama_cpp", both, "8b-Q4_K_M")) == ["large-8b-Q4_K_M.gguf"]


def test_a_split_file_with_a_part_missing_is_refused():
    lone = snapshot("m-Q4_K_M-00002-of-00003.gguf")
    assert "1 of 3 parts" in str(error_of(hub.select_files, "llama_cpp", lone, None))


SAFETENSORS = [
    "chat_template.jinja", "config.json", "merges.txt", "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "modeling_x.py", "tokenizer.model",
]  # fmt: skip


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_other_engines_get_safetensors_and_what_belongs_to_them(engine):
    useless = [
        ".gitattributes", "README.md", "consolidated.safetensors", "model.gguf", "original/model.safetensors",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "onnx/model.onnx", "tf_model.h5",
    ]  # fmt: skip
    assert paths(hub.select_files(engine, snapshot(*SAFETENSORS, *useless), None)) == SAFETENSORS


def test_mistrals_own_layout_is_taken_where_it_is_the_only_one():
    alone = snapshot("consolidated.safetensors", "params.json", "tekken.json")
    assert len(hub.select_files("vllm", alone, None)) == 3


def test_a_repository_for_another_engine_is_refused_with_that_engine():
    assert "llama_cpp" in str(error_of(hub.select_files, "tgi", snapshot("a-Q4_K_M.gguf", "config.json"), None))
    assert "tgi" in str(error_of(hub.select_files, "llama_cpp", snapshot(*SAFETENSORS), None))
    assert "has them" in str(error_of(hub.select_files, "vllm", snapshot("pytorch_model.bin"), None))


def test_a_file_that_only_xet_could_bring_is_refused():
    assert "50 GB" in str(error_of(hub.select_files, "llama_cpp", snapshot("m-Q4_K_M.gguf 60"), None))


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
