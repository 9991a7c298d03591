# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the documentation of the modules for Exoscale do what they say."""

from __future__ import annotations

import importlib

import pytest
import yaml

INFO = ["sks_cluster_info", "sks_nodepool_info", "gpu_offer_info"]


@pytest.mark.parametrize("module", ["sks_cluster", "sks_nodepool", "sks_kubeconfig", *INFO])
def test_examples(exoscale, tmp_path, monkeypatch, module):
    monkeypatch.setenv("HOME", str(tmp_path))
    if module != "sks_cluster":
        exoscale("sks_cluster", name="llm")
    if module in INFO:
        exoscale("sks_nodepool", cluster="llm", name="gpu", instance_type="gpu3.small", size=1)
    source = importlib.import_module(f"ansible_collections.selfhosted.llm.plugins.modules.{module}")
    documented = yaml.safe_load(source.RETURN)
    for task in yaml.safe_load(source.EXAMPLES):
        options = task[f"selfhosted.llm.{module}"]
        result = exoscale(module, **options)
        assert result["changed"] is (module not in INFO), (task["name"], result)
        assert not exoscale(module, **options)["changed"], task["name"]
        for name, about in documented.items():
            if "contains" in about and name in result:
                shown = result[name] if about["type"] == "list" else [result[name]]
                assert shown and all(set(entry) == set(about["contains"]) for entry in shown)
