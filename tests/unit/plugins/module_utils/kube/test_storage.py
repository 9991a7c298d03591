# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import storage

DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


class Cluster:
    """A cluster with some storage classes: name -> provisioner; the first is the default."""

    def __init__(self, **classes: str):
        self.items = [
            {"metadata": {"name": name, "annotations": {} if number else DEFAULT}, "provisioner": provisioner}
            for number, (name, provisioner) in enumerate(classes.items())
        ]

    def request(self, method: str, path: str) -> dict:
        assert (method, path) == ("GET", "/apis/storage.k8s.io/v1/storageclasses")
        return {"items": self.items}


@pytest.mark.parametrize(("quantity", "size"), [("1Gi", 2**30), ("500M", 500_000_000), ("12", 12), (12, 12), ("1.5Ki", 1536)])
def test_quantities_are_bytes(quantity, size):
    assert storage.bytes_of(quantity) == size


@pytest.mark.parametrize("quantity", ["", "many", "3GB", "Gi"])
def test_what_is_no_quantity(quantity):
    with pytest.raises(ValueError):
        storage.bytes_of(quantity)


@pytest.mark.parametrize("provisioner", ["driver.longhorn.io", "rook-ceph.cephfs.csi.ceph.com", "nfs.csi.k8s.io"])
def test_a_file_system_over_the_network_can_be_shared(provisioner):
    assert storage.check_many_nodes(Cluster(block="csi.exoscale.com", shared=provisioner), "shared") == ""


@pytest.mark.parametrize(
    ("classes", "name", "says"),
    [
        ({"block": "csi.exoscale.com"}, None, "block (csi.exoscale.com) are for one node"),
        ({"local": "rancher.io/local-path"}, "local", "llm_shared_cache to false"),
        ({"block": "csi.exoscale.com"}, "shared", "no storage class shared: the cluster has block"),
        ({}, None, "no default storage class"),
    ],
)
def test_what_cannot_be_shared_is_refused(classes, name, says):
    with pytest.raises(UserError) as refused:
        storage.check_many_nodes(Cluster(**classes), name)
    assert says in str(refused.value)


def test_what_is_not_known_is_said():
    assert "is not known here" in storage.check_many_nodes(Cluster(new="some.vendor.example"), None)
