# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployments of all engineers of a run, as their clusters know them."""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import (
    ENGINEER,
    INSTANCE,
    MANAGED_BY,
    MANAGER,
    read_owned,
)
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables


class Engineer(NamedTuple):
    """One engineer of the run.

    Attributes:
        name: the engineer's name.
        namespace: where their deployments are.
        kube: their cluster; None in check mode where it does not exist yet.
        hosts: their deployments in the inventory.
    """

    name: str
    namespace: str
    kube: Kube | None
    hosts: list[str]

    def live(self, *kinds: str) -> list[dict]:
        """All objects of these kinds that this engineer's deployments own, also those that left the inventory.

        Of an optional kind that the cluster does not know there are none.
        """
        if self.kube is None:
            return []
        labels = {MANAGED_BY: MANAGER, ENGINEER: self.name}
        found = []
        for kind in map(BY_NAME.get, kinds):
            try:
                found += read_owned(self.kube, self.namespace, labels, (kind,))
            except KubeError as error:
                if error.status != 404 or not kind.optional:
                    raise
        return found

    def claims(self) -> list[str]:
        """The volumes that this engineer's deployments of the inventory mount."""
        pods = (obj["spec"]["template"]["spec"] for obj in self.live("Deployment") if obj["metadata"]["name"] in self.hosts)
        volumes = (volume for pod in pods for volume in pod["volumes"])
        return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]

    def is_orphan(self, obj: dict) -> bool:
        """Whether an object belongs to a deployment that is no longer in the inventory."""
        return obj["metadata"]["labels"].get(INSTANCE, self.name) not in (self.name, *self.hosts)


def engineers(variables: Variables, hosts: list[str], may_be_missing: bool) -> list[Engineer]:
    """The engineers of these hosts.

    Args:
        may_be_missing: a kubeconfig that does not exist is no error.

    Raises:
        KubeError: a kubeconfig cannot be used.
    """
    names: dict[str, list[str]] = {}
    for host in hosts:
        names.setdefault(variables.engineer(host), []).append(host)
    found = []
    for name, mine in names.items():
        path = os.path.expanduser(variables.evaluate(mine[0], ["llm_kubeconfig"], ("llm",))["llm_kubeconfig"])
        missing = may_be_missing and not os.path.exists(path)
        found.append(Engineer(name, f"llm-{name}", None if missing else Kube(path), mine))
    return found
