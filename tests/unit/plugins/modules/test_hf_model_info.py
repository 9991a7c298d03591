# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.modules import hf_model_info

# In tests/unit/conftest.py
GGUF, GATED, PRIVATE = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "alice/private-model"
DOCUMENTED = yaml.safe_load(hf_model_info.RETURN)["models"]["contains"]


@pytest.fixture
def look_up(hub_server, tmp_path, monkeypatch, capsys):
    """Run the module; returns its entries by model. Whatever it prints is searched for tokens."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))

    def look_up(*models, **options) -> dict[str, dict]:
        with patch_module_args({"models": list(models), "endpoint": hub_server.url} | options), pytest.raises(SystemExit):
            hf_model_info.main()
        output = capsys.readouterr().out
        assert "token-" not in output
        result = json.loads(output)
        assert not result.get("failed") and not result["changed"]
        return {entry["model"]: entry for entry in result["models"]}

    return look_up


def test_what_a_model_is_made_of(look_up, hub_server):
    (hub_server.tree.root / GGUF / "README.md").write_text("---\nlicense: apache-2.0\n---\n# chat\n")
    found = look_up(GGUF, token="token-of-alice")[GGUF]
    assert set(found) == set(DOCUMENTED)
    assert found["access"] == "granted" and len(found["commit"]) == 40 and not found["gated"] and found["licence"] == "apache-2.0"
    assert sum(file["size"] for file in found["files"]) == found["bytes"]
    assert all(file["sha256"] or file["git_sha1"] for file in found["files"])


def test_what_an_engine_needs_of_it(look_up):
    found = look_up(f"{GGUF}:Q8_0", GGUF, GATED, engine="llama_cpp", token="token-of-alice")
    assert [file["path"] for file in found[f"{GGUF}:Q8_0"]["files"]] == [f"chat-Q8_0-0000{part}-of-00002.gguf" for part in (1, 2)]
    assert [file["path"] for file in found[GGUF]["files"]] == ["chat-Q4_K_M.gguf"]
    assert found[GATED]["quant"] == "Q4_K_M" and {file["path"] for file in found[GATED]["files"]} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("model", "options", "access"),
    [
        (GATED, {"token": "token-with-gated-read"}, "granted"),
        ("no model", {}, "bad_model"),
        (GATED, {}, "no_token"),
        (GGUF, {"token": "token-nonsense"}, "bad_token"),
        (GGUF, {"token": "token-expired"}, "expired_token"),
        (GATED, {"token": "token-without-licence"}, "licence_not_accepted"),
        (GATED, {"token": "token-awaiting-review"}, "access_pending"),
        (GATED, {"token": "token-without-gated-read"}, "no_gated_right"),
        (PRIVATE, {"token": "token-of-bob"}, "no_such_repository"),
        (GGUF, {"revision": "no-such"}, "no_such_revision"),
        (f"{GGUF}:Q9", {"engine": "llama_cpp"}, "no_such_file"),
        (GGUF, {"endpoint": "http://127.0.0.1:9"}, "unreachable"),
    ],
)
def test_each_case_is_told_apart_and_has_its_cure(look_up, model, options, access):
    found = look_up(model, **options)[model]
    assert found["access"] == access and access in str(DOCUMENTED["access"]["description"])
    assert (len(found["message"]) > 30) == (access != "granted")


def test_one_that_cannot_be_had_hides_no_other(look_up):
    found = look_up(GGUF, GATED, "no/such", token="token-without-licence")
    assert [entry["access"] for entry in found.values()] == ["granted", "licence_not_accepted", "no_such_repository"]
