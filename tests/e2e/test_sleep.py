# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU pools that are put to sleep and woken; the deployments come back as they were."""

from __future__ import annotations

import shutil

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, NODE

from .conftest import REPOSITORY, SANDBOX

PLATFORM = ("inventories/platform", SANDBOX)


@pytest.fixture
def gpu_nodes(admin):
    def gpu_nodes() -> list[str]:
        query = {"labelSelector": "selfhosted.llm/pool=llm"}
        return [node["metadata"]["name"] for node in admin.request("GET", NODE.path(), query=query)["items"]]

    return gpu_nodes


def test_hibernating_and_waking(run, admin, gpu_nodes):
    claims = BY_NAME["PersistentVolumeClaim"].path("llm-alice", "alice-chat")
    before, (node,) = admin.request("GET", claims)["metadata"]["uid"], gpu_nodes()

    planned = run("playbooks/hibernate.yml", *PLATFORM, extra=("--check",))
    assert planned.changed and gpu_nodes() == [node]

    slept = run("playbooks/hibernate.yml", *PLATFORM)
    assert slept.status == 0 and slept.changed, slept.message
    assert gpu_nodes() == []
    assert not run("playbooks/hibernate.yml", *PLATFORM).changed

    # Everybody's runs go on, and neither wait nor wake anything.
    engineer, admins = run("site.yml", "inventories/alice", SANDBOX), run("site.yml", *PLATFORM)
    assert (engineer.status, engineer.changed, admins.status, admins.changed) == (0, set(), 0, set())
    ((table,),) = [result["deployments"] for _task, _host, result in engineer.results if "orphans" in result]
    assert table["state"].startswith("asleep since ")
    assert gpu_nodes() == []

    woken = run("playbooks/wake.yml", *PLATFORM)
    assert woken.status == 0 and gpu_nodes() == [node], woken.message
    assert not run("playbooks/wake.yml", *PLATFORM).changed
    assert not run("site.yml", "inventories/alice", SANDBOX).changed
    assert admin.request("GET", claims)["metadata"]["uid"] == before


def test_labels_and_taints_reach_the_nodes_that_are_there_and_go_again(run, admin, gpu_nodes, tmp_path):
    def marks() -> tuple[str | None, set[str]]:
        node = admin.request("GET", NODE.path(name=gpu_nodes()[0]))
        return node["metadata"]["labels"].get("tier"), {taint["key"] for taint in node["spec"]["taints"]}

    shutil.copytree(REPOSITORY / "inventories/platform", tmp_path / "platform")
    hosts = tmp_path / "platform/hosts.yml"
    text = hosts.read_text().replace("labels: {role: llm}", "labels: {role: llm, tier: gold}")
    taint = "tier: {value: gold, effect: PreferNoSchedule}"
    hosts.write_text(text.replace("            nodepool: {value: llm,", f"            {taint}\n            nodepool: {{value: llm,"))
    changed = run("playbooks/platform.yml", tmp_path / "platform", SANDBOX)
    assert changed.status == 0 and marks() == ("gold", {"nodepool", "tier"}), changed.message
    assert not run("playbooks/platform.yml", tmp_path / "platform", SANDBOX).changed
    assert run("playbooks/platform.yml", *PLATFORM).status == 0 and marks() == (None, {"nodepool"})


def test_teardown_lists_what_would_be_lost_and_removes_nothing_unasked(run, gpu_nodes):
    for extra, says in (
        (("-e", "sks_gpu_nodes_teardown=another"), "Nothing was removed: to remove the cluster llm-frankfurt, type its name"),
        (("-e", "sks_gpu_nodes_teardown=llm-frankfurt"), "Nothing was removed: there are the volumes llm-alice/alice-chat"),
    ):
        refused = run("playbooks/teardown.yml", *PLATFORM, extra=extra)
        assert refused.status != 0 and says in refused.message and not refused.changed
        assert "the deployments alice-chat, bob-chat, bob-llama" in refused.text.replace("\\n", " ")
    assert gpu_nodes()
