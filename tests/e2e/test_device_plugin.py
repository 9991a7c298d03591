# SPDX-License-Identifier: GPL-3.0-or-later
"""A device plugin that was there before ours is said, and no second one installed."""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME

from .conftest import SANDBOX

PLATFORM = ("playbooks/platform.yml", "inventories/platform", SANDBOX)
IMAGE = "nvcr.io/nvidia/k8s-device-plugin:v0.17.0"


@pytest.fixture
def another(admin):
    """A device plugin of a node template, as far as its DaemonSet tells, which runs nowhere."""
    labels = {"app": "nvidia-device-plugin"}
    spec = {"nodeSelector": {"no": "such"}, "containers": [{"name": "plugin", "image": IMAGE}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    made = {"metadata": {"name": "nvidia-device-plugin"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    admin.request("POST", BY_NAME["DaemonSet"].path("kube-system"), made)
    yield
    admin.request("DELETE", BY_NAME["DaemonSet"].path("kube-system", "nvidia-device-plugin"))


def test_a_second_device_plugin_is_installed_only_when_asked_for(run, another):
    only_nvidia = ("--check", "--tags", "nvidia_utilities")
    result = run(*PLATFORM, extra=only_nvidia)
    assert result.status == 0, result.message
    said = str([entry.get("msg") for task, _host, entry in result.results if "Say why" in task])
    assert f"DaemonSet kube-system/nvidia-device-plugin runs {IMAGE}: no device plugin is installed beside it" in said
    assert "DaemonSet nvidia/device-plugin-llm deleted" in str(result.results)
    asked = run(*PLATFORM, extra=(*only_nvidia, "-e", "nvidia_utilities_device_plugin=true"))
    assert asked.status == 0 and "device-plugin-llm deleted" not in str(asked.results)
