# SPDX-License-Identifier: GPL-3.0-or-later
"""Feature discovery: GPU nodes say by labels what their cards are, and nothing of it stays when it is turned off."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, NODE

from .conftest import REPOSITORY, SANDBOX

PLATFORM = ("playbooks/platform.yml", "inventories/platform", SANDBOX)
TAGS = ("--tags", "nvidia_utilities")
ON = json.dumps({"nvidia_utilities_gpu_feature_discovery": True, "nvidia_utilities_node_feature_discovery": True})
CARDS = {
    "nvidia.com/gpu.product": "NVIDIA-A40-SHARED",
    "nvidia.com/gpu.count": "2",
    "nvidia.com/gpu.replicas": "2",
    "nvidia.com/gpu.sharing-strategy": "time-slicing",
    "nvidia.com/gpu.memory": "46068",
    "nvidia.com/cuda.driver-version.full": "580.95.05",
}


@pytest.fixture
def discovered(admin):
    """The marks of feature discovery on each node: discovered() -> labels and annotations by node."""

    def discovered() -> dict[str, dict[str, str]]:
        found = {}
        for node in admin.request("GET", NODE.path())["items"]:
            marks = node["metadata"]["labels"] | node["metadata"].get("annotations", {})
            ours = {key: value for key, value in marks.items() if key.startswith(("nvidia.com/", "feature.node.", "nfd.node."))}
            found |= {node["metadata"]["name"]: ours} if ours else {}
        return found

    return discovered


@pytest.fixture
def turned_on(run):
    """Both parts, on the real node feature discovery and a stand-in for NVIDIA's source of labels."""
    subprocess.run([sys.executable, "-m", "tests.sandbox", "load", "feature-discovery"], cwd=REPOSITORY, check=True)
    yield run(*PLATFORM, extra=(*TAGS, "-e", ON))
    run(*PLATFORM, extra=TAGS)


def test_it_labels_the_gpu_nodes_and_leaves_nothing(run, admin, turned_on, discovered):
    assert turned_on.status == 0, turned_on.message
    limit = time.monotonic() + 30
    while not any(CARDS.items() <= marks.items() for marks in discovered().values()):
        assert time.monotonic() < limit, discovered()
        time.sleep(0.5)
    (name,) = discovered()
    assert admin.request("GET", NODE.path(name=name))["metadata"]["labels"]["selfhosted.llm/pool"] == "llm"
    assert not run(*PLATFORM, extra=(*TAGS, "-e", ON)).changed

    off = run(*PLATFORM, extra=TAGS)
    assert off.status == 0 and off.changed, off.message
    assert discovered() == {}
    kinds = admin.request("GET", BY_NAME["CustomResourceDefinition"].path())["items"]
    assert [kind for kind in kinds if kind["spec"]["group"] == "nfd.k8s-sigs.io"] == []
