# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleLookupError

from ansible_collections.selfhosted.llm.plugins.lookup import serves
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.plugin_utils import lookup


class Cluster:
    """A cluster that serves one API, refuses to tell of another, and has no other."""

    def __init__(self, kubeconfig):
        pass

    def request(self, method, path):
        if path != "/apis/monitoring.coreos.com/v1":
            raise KubeError("the cluster says no", 403 if path.endswith("/secret") else 404)

    def close(self):
        pass


@pytest.fixture
def ask(monkeypatch, tmp_path):
    monkeypatch.setattr(lookup, "Kube", Cluster)
    (tmp_path / "kubeconfig").touch()
    return lambda *versions, kubeconfig="kubeconfig": serves.LookupModule().run(versions, {}, kubeconfig=str(tmp_path / kubeconfig))


def test_what_a_cluster_serves(ask):
    assert ask("monitoring.coreos.com/v1", "monitoring.coreos.com/v2") == [True, False]


def test_a_cluster_that_is_still_to_be_made_serves_nothing(ask):
    assert ask("monitoring.coreos.com/v1", kubeconfig="none") == [False]


def test_what_cannot_be_asked_is_a_sentence(ask):
    with pytest.raises(AnsibleLookupError, match="the cluster says no"):
        ask("monitoring.coreos.com/secret")
