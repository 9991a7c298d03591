# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU nodes that are really ill are told their cause, and healthy ones are tested, on the worker of the pool `default`."""

from __future__ import annotations

import json

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.vectoradd import CHECK

from .conftest import SANDBOX
from .node_ailments import AILMENTS, Workshop

RECORD = BY_NAME["ConfigMap"].path("nvidia", CHECK)
PLATFORM = ("inventories/platform", SANDBOX)
# In the order in which each leaves least to the next: the kubelet keeps a former capacity for 5 minutes.
CAUSES = {
    "not_selected": "it lacks the label selfhosted.llm/pool=none",
    "taint": "dedicated=research:NoSchedule",
    "image": 'Failed to pull image "localhost/device-plugin:none"',
    "crash": "exit code 1: unable to load config",
    "no_driver": "Incompatible strategy detected auto",
    "no_card": "0 GPUs x 2 replicas",
    "other_slicing": "nvidia.com/gpu is 4 where 1 x 2 are wanted, and it is configured for 4 a card",
}


@pytest.fixture
def workshop(admin, environment):
    workshop = Workshop(admin, environment["SANDBOX_STATE"])
    yield workshop
    workshop.mend()


@pytest.fixture
def healthy(workshop):
    """The node with one card of two slots."""
    workshop.cards(1)
    workshop.plugin()
    workshop.recover()
    return workshop


@pytest.fixture
def wait(run, tmp_path, workshop):
    """Wait for the pool's node with selfhosted.llm.wait_nodes."""

    def wait(timeout: int):
        task = {"kubeconfig": "{{ sks_gpu_nodes_kubeconfig }}", "pools": [workshop.pool], "timeout": timeout}
        play = {"hosts": "sks_clusters", "gather_facts": False, "tasks": [{"name": "Wait", "selfhosted.llm.wait_nodes": task}]}
        (tmp_path / "wait.yml").write_text(yaml.safe_dump([play]))
        return run(str(tmp_path / "wait.yml"), *PLATFORM)

    return wait


@pytest.fixture
def check(run, tmp_path, workshop, admin):
    """Run playbooks/gpu_check.yml on the pool; what it keeps is forgotten afterwards."""

    def check(*extra: str):
        variables = {"sks_gpu_nodes_pools": [workshop.pool], "nvidia_utilities_test_data": str(tmp_path / "gpu-check.json")}
        return run("playbooks/gpu_check.yml", *PLATFORM, extra=("-e", json.dumps(variables), *extra))

    yield check
    if _kept(admin):
        admin.request("DELETE", RECORD)


def _kept(admin) -> dict[str, dict]:
    """The results that are kept, by node."""
    try:
        data = admin.request("GET", RECORD)["data"]
    except KubeError:
        return {}
    return {node: json.loads(text) for node, text in data.items()}


def _jobs(admin) -> list[str]:
    return [job["metadata"]["name"] for job in admin.request("GET", BY_NAME["Job"].path("nvidia"))["items"]]


def _nodes(result) -> list[dict]:
    return next(found["nodes"] for _task, _host, found in result.results if "nodes" in found)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_node_that_is_not_prepared_is_told_its_cause(workshop, wait, cause):
    AILMENTS[cause](workshop)
    _evidence, finding = workshop.examined(cause)
    result = wait(1)
    assert result.status != 0 and CAUSES[cause] in result.message
    assert f"Node {workshop.node} of pool default {finding.cause.means}: " in result.message and finding.cause.cure in result.message
    assert result.message.startswith("After 1 s the GPU nodes are not prepared. ")


def test_a_node_that_becomes_ready_is_waited_for(workshop, wait):
    workshop.cards(1)
    workshop.plugin()
    assert wait(60).status == 0


def test_a_node_is_tested_and_the_result_kept(healthy, check, admin, tmp_path):
    planned = check("--check")
    assert planned.status == 0 and [node["test"] for node in _nodes(planned)] == ["to be tested"]
    assert _jobs(admin) == [] and healthy.node not in _kept(admin)

    tested = check()
    assert tested.status == 0 and tested.changed, tested.message
    ((name, result),) = _kept(admin).items()
    assert name == healthy.node and result["passed"] and result["words"] == "Test PASSED" and result["pool"] == "default"
    (row,) = json.loads((tmp_path / "gpu-check.json").read_text())["nodes"]
    assert (row["test"], row["slots"], row["wanted"], row["time"]) == ("passed", 2, 2, result["time"])
    assert f"{healthy.node}  default  -     2 of 2          passed" in tested.text
    assert _jobs(admin) == []


def test_a_test_that_fails_is_told_with_its_last_words(healthy, check, admin):
    command = ["sh", "-c", "echo CUDA driver version is insufficient; exit 1"]
    result = check("-e", json.dumps({"nvidia_utilities_test_command": command}))
    assert result.status != 0 and f"{healthy.node} (vectoradd)" in result.message
    assert "exit code 1: CUDA driver version is insufficient" in result.text
    assert _kept(admin)[healthy.node]["passed"] is False
    assert _jobs(admin) == []


def test_a_busy_node_is_not_waited_for(healthy, check, admin):
    holders = [healthy.tenant(1), healthy.tenant(1)]
    result = check()
    (row,) = _nodes(result)
    assert result.status == 0 and not result.changed and row["test"] == "busy, not tested"
    for path in holders:
        assert f"default/{path.rpartition('/')[2]} (1)" in row["why"]
    assert _jobs(admin) == []


def test_a_node_that_is_not_prepared_is_not_tested(workshop, check):
    workshop.plugin(pod={"nodeSelector": {"selfhosted.llm/pool": "none"}})
    result = check()
    assert result.status != 0 and f"{workshop.node} (not_selected)" in result.message
    assert "is not selected by its device plugin" in result.text


def test_a_platform_run_tests_what_it_has_not_tested(healthy, check):
    """As roles/nvidia_utilities does where nvidia_utilities_test is true."""
    once = ("-e", "nvidia_utilities_only_untested=true")
    assert check(*once).changed
    again = check(*once)
    assert again.status == 0 and not again.changed and [node["test"] for node in _nodes(again)] == ["passed"]

