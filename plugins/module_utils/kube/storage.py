# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes: their sizes, and which storage classes have volumes that several nodes can mount at once."""

from __future__ import annotations

from ..errors import UserError
from .client import Kube
from .kinds import STORAGE_CLASS

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# Exoscale's driver makes block storage, which is attached to one node (driver/controller.go in
# exoscale/exoscale-csi-driver: SINGLE_NODE_WRITER alone); local-path's volumes are directories of one node.
ONE_NODE = {"csi.exoscale.com", "rancher.io/local-path"}
# File systems over the network, by their documentation; Ceph's provisioners carry the name of their namespace in front.
MANY_NODES = ("driver.longhorn.io", "nfs.csi.k8s.io", "cephfs.csi.ceph.com", "nfs.csi.ceph.com")


def bytes_of(quantity: str | float) -> int:
    """Bytes of a Kubernetes quantity such as ``3Gi`` or ``500M``.

    Raises:
        ValueError: it is none.
    """
    quantity = str(quantity)
    number = quantity.rstrip("KMGTPEkmi")
    unit = quantity[len(number) :]
    power = " KMGTPE".index(unit[0].upper()) if unit else 0
    return int(float(number) * (1024 if unit.endswith("i") else 1000) ** power)


def check_many_nodes(kube: Kube, name: str | None) -> str:
    """Make sure that volumes of a storage class (the cluster's default where not named) can be ReadWriteMany.

    Returns a note where that is not known of its provisioner, else nothing.

    Raises:
        UserError: there is no such class, or its volumes are for one node.
    """
    classes = {item["metadata"]["name"]: item for item in kube.request("GET", STORAGE_CLASS.path())["items"]}
    default = (key for key, item in classes.items() if item["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true")
    name = name or next(default, "")
    if name not in classes:
        has = f"the cluster has {', '.join(sorted(classes)) or 'none'}"
        raise UserError(f"there is no storage class {name}: {has}." if name else f"the cluster has no default storage class; {has}.")
    provisioner = classes[name]["provisioner"]
    if provisioner in ONE_NODE:
        raise UserError(
            f"volumes of the storage class {name} ({provisioner}) are for one node (no ReadWriteMany), and a shared cache is mounted "
            "wherever its deployments run: set llm_storage_class to a class of a shared file system, or llm_shared_cache to false."
        )
    if provisioner.endswith(MANY_NODES):
        return ""
    return f"whether the storage class {name} ({provisioner}) can be mounted on several nodes (ReadWriteMany) is not known here."
