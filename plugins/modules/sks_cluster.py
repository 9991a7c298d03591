#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sks_cluster
short_description: Make, change, upgrade or delete an Exoscale SKS cluster
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Brings an SKS cluster to what the options say, and waits until that is done.
  - Only O(zone) and O(name) are needed. What is not given has the default stated with each option when the cluster is made,
    and is left as it is when the cluster exists.
  - What SKS cannot change in a cluster is refused.
  - A new cluster gets a security group with what its network plugin needs, which M(selfhosted.llm.sks_nodepool) gives to
    its nodes.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
options:
  name:
    description: Name of the cluster.
    type: str
    required: true
  state:
    description: V(absent) deletes the cluster, and refuses while it has node pools unless O(force=true).
    type: str
    choices: [present, absent]
    default: present
  level:
    description: Service level of the control plane. It can be raised, never lowered. A new cluster is V(starter).
    type: str
    choices: [starter, pro]
  version:
    description:
      - Kubernetes version, such as V(1.34.1), or V(1.34) for any patch of it, in quotes.
      - A new cluster gets the newest that SKS offers. An existing cluster is upgraded only where this option is given, and by
        one minor version at a time.
      - A newer patch that O(auto_upgrade) has brought is accepted.
    type: str
  cni:
    description: Network plugin. It cannot be changed. A new cluster has V(calico).
    type: str
    choices: [calico, cilium]
  addons:
    description:
      - What SKS runs in the cluster.
      - A new cluster has V(exoscale-cloud-controller), V(exoscale-container-storage-interface) and V(metrics-server).
    type: list
    elements: str
    choices: [exoscale-cloud-controller, exoscale-container-storage-interface, karpenter, metrics-server]
  auto_upgrade:
    description: Whether SKS upgrades the control plane to new patches by itself. A new cluster is not upgraded.
    type: bool
  description:
    description: Description of the cluster. An empty one clears it.
    type: str
  force:
    description: Whether O(state=absent) also deletes the cluster's node pools, with all that runs there.
    type: bool
    default: false
seealso:
  - module: selfhosted.llm.sks_nodepool
  - module: selfhosted.llm.sks_kubeconfig
"""

EXAMPLES = r"""
- name: Make a cluster of the newest version
  selfhosted.llm.sks_cluster:
    zone: de-fra-1
    name: llm

- name: Upgrade it, and let SKS bring patches
  selfhosted.llm.sks_cluster:
    zone: de-fra-1
    name: llm
    version: "1.34"
    auto_upgrade: true

- name: Delete it with its node pools
  selfhosted.llm.sks_cluster:
    zone: de-fra-1
    name: llm
    state: absent
    force: true
"""

RETURN = r"""
cluster:
  description: The cluster as it is after the task; in check mode, as it was.
  returned: when it exists
  type: dict
  contains:
    id:
      description: Id of the cluster.
      type: str
      sample: 8561ee34-09f0-42da-a765-abde807f944b
    name:
      description: Its name.
      type: str
      sample: llm
    endpoint:
      description: Address of its Kubernetes API.
      type: str
      sample: https://8561ee34-09f0-42da-a765-abde807f944b.sks-de-fra-1.exo.io:443
    state:
      description: State of the control plane.
      type: str
      sample: running
    level:
      description: Service level.
      type: str
      sample: starter
    version:
      description: Kubernetes version of the control plane.
      type: str
      sample: 1.34.1
    cni:
      description: Network plugin.
      type: str
      sample: calico
    addons:
      description: What SKS runs in it.
      type: list
      elements: str
      sample: [exoscale-cloud-controller, metrics-server]
    auto_upgrade:
      description: Whether SKS upgrades it to new patches.
      type: bool
      sample: false
    description:
      description: Its description, empty where it has none.
      type: str
      sample: ''
    nodepools:
      description: Names of its node pools.
      type: list
      elements: str
      sample: [default, llm]
"""

import re

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Answer
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import STATE, Resource, body

ADDONS = ["exoscale-cloud-controller", "exoscale-container-storage-interface", "karpenter", "metrics-server"]
# What a new cluster has where the options don't say, apart from the version.
NEW = {
    "level": "starter",
    "cni": "calico",
    "addons": ["exoscale-cloud-controller", "exoscale-container-storage-interface", "metrics-server"],
    "auto_upgrade": False,
    "description": "",
}


class Cluster(Resource):
    """The cluster that the module's options describe."""

    kind = "cluster"

    def absent(self) -> dict:
        """Delete the cluster; return the module's result."""
        return self.converge(self._nothing)

    def read(self) -> Answer | None:
        """See Resource."""
        return self.find_cluster(self.options["name"])[0]

    def describe(self, live: Answer) -> dict:
        """See Resource."""
        return {
            "level": live["level"],
            "version": live["version"],
            "cni": live.get("cni"),
            "addons": sorted(live.get("addons", [])),
            "auto_upgrade": live.get("auto-upgrade", False),
            "description": live.get("description") or "",
        }

    def desired(self, live: Answer | None) -> dict:
        """See Resource."""
        given = {name: self.options[name] for name in NEW if self.options[name] is not None}
        if "addons" in given:
            given["addons"] = sorted(set(given["addons"]))
        if not live:
            return NEW | given | {"version": self._newest(self.options["version"])}
        shown = self.describe(live)
        wanted = shown | given | {"version": self._next(live)}
        if (shown["level"], wanted["level"]) == ("pro", "starter"):
            raise ExoscaleError(f"The {self} has the level pro, which cannot be lowered: only a new cluster can be starter.")
        if wanted["cni"] != shown["cni"]:
            raise ExoscaleError(
                f"The {self} has the network plugin {shown['cni']}, which cannot be changed: only a new cluster, with new "
                f"node pools, can have {wanted['cni']}."
            )
        return wanted

    def create(self, wanted: dict) -> None:
        """See Resource."""
        self.api.write(
            "create-sks-cluster", {"name": self.options["name"], "create-default-security-group": True} | body(wanted)
        )

    def update(self, live: Answer, changes: dict) -> None:
        """See Resource."""
        version, level = changes.pop("version", None), changes.pop("level", None)
        if changes:
            self.api.write("update-sks-cluster", body(changes), id=live["id"])
        if level:  # there is only one above another
            self.api.write("upgrade-sks-cluster-service-level", id=live["id"])
        if version:
            self.api.write("upgrade-sks-cluster", {"version": version}, id=live["id"])

    def delete(self, live: Answer) -> None:
        """See Resource."""
        for pool in live.get("nodepools", []):
            self.api.write("delete-sks-nodepool", id=live["id"], sks_nodepool_id=pool["id"])
        self.api.write("delete-sks-cluster", id=live["id"])

    def facts(self, live: Answer) -> dict:
        """See Resource."""
        about = {name: live[name] for name in ("id", "name", "endpoint", "state")}
        return {"cluster": about | self.describe(live) | {"nodepools": [pool["name"] for pool in live.get("nodepools", [])]}}

    def _nothing(self, live: Answer | None) -> dict:
        if live and not self.options["force"] and (pools := live.get("nodepools")):
            names = ", ".join(sorted(pool["name"] for pool in pools))
            raise ExoscaleError(
                f"The {self} still has the node pools {names}: delete them first, or set force to delete them with it."
            )
        return {}

    def _newest(self, wanted: str | None) -> str:
        """The newest version offered, of the one wanted: a patch, or any of a minor version."""
        offered = self.api.call("list-sks-cluster-versions")["sks-cluster-versions"]
        fitting = [version for version in offered if wanted is None or _fits(version, wanted)]
        if not fitting:
            raise ExoscaleError(f"SKS does not offer version {wanted} in {self.api.zone}; it offers {', '.join(offered)}.")
        return max(fitting, key=_numbers)

    def _next(self, live: Answer) -> str:
        """The version that a live cluster shall have."""
        shown, wanted = live["version"], self.options["version"]
        if wanted is None or _fits(shown, wanted):
            return shown
        now, goal = _numbers(shown), _numbers(wanted)
        if goal < now:
            if goal[:2] == now[:2] and live.get("auto-upgrade"):
                return shown
            raise ExoscaleError(
                f"The {self} has version {shown}, which cannot be lowered: only a new cluster can have {wanted}."
            )
        if goal[0] != now[0] or goal[1] > now[1] + 1:
            raise ExoscaleError(
                f"The {self} has version {shown}, and is upgraded by one minor version at a time: set version to "
                f"\"{now[0]}.{now[1] + 1}\" first."
            )
        return self._newest(wanted)


def _numbers(version: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
        raise ExoscaleError(f'The version {version} is not of the form "1.34.1" or "1.34".')
    return tuple(map(int, version.split(".")))


def _fits(version: str, wanted: str) -> bool:
    """Whether a version is the one wanted, or a patch of it."""
    return f"{version}.".startswith(f"{wanted}.")


def main() -> None:
    """Run the module."""
    Cluster.run(
        STATE
        | {
            "name": {"type": "str", "required": True},
            "level": {"type": "str", "choices": ["starter", "pro"]},
            "version": {"type": "str"},
            "cni": {"type": "str", "choices": ["calico", "cilium"]},
            "addons": {"type": "list", "elements": "str", "choices": ADDONS},
            "auto_upgrade": {"type": "bool"},
            "description": {"type": "str"},
            "force": {"type": "bool", "default": False},
        }
    )


if __name__ == "__main__":
    main()
