#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sks_nodepool
short_description: Make, change, scale or delete a node pool of an Exoscale SKS cluster
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Brings a node pool to what the options say, and waits until Exoscale has done that. The nodes may need some minutes more
    to join the cluster, see M(selfhosted.llm.wait_nodes).
  - Only O(zone), O(cluster) and O(name) are needed for a pool that exists, and what is not given is left as it is.
  - A new pool gets the security group that M(selfhosted.llm.sks_cluster) made with the cluster, if there is one.
  - Exoscale makes new nodes as the pool says, and leaves those that run as they are. A new type, disk, label or taint is thus
    seen on new nodes only.
  - When a pool shrinks, Exoscale chooses which nodes go, and does not drain them.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
options:
  cluster:
    description: Name or id of the cluster.
    type: str
    required: true
  name:
    description: Name of the pool, in lowercase. The pool is found by it, so it cannot be changed.
    type: str
    required: true
  state:
    description: V(absent) deletes the pool with its nodes, and all that runs there.
    type: str
    choices: [present, absent]
    default: present
  instance_type:
    description: Family and size of the nodes, such as V(gpu3.small). Needed for a new pool.
    type: str
  size:
    description: Number of nodes. Needed for a new pool, and at least V(1) there; a pool that exists can also have V(0).
    type: int
  disk_size:
    description: Disk of each node in GiB, V(20) to V(51200). V(50) for a new pool.
    type: int
  instance_prefix:
    description: What the nodes' names begin with, in lowercase, at most 30 characters. V(pool) for a new pool.
    type: str
  labels:
    description: Labels of the nodes. All others are removed, so V({}) clears them.
    type: dict
  taints:
    description:
      - Taints of the nodes, each C(key) with C(value) and C(effect), which is V(NoSchedule), V(PreferNoSchedule) or
        V(NoExecute). All others are removed, so V({}) clears them.
    type: dict
  description:
    description: Description of the pool. An empty one clears it.
    type: str
seealso:
  - module: selfhosted.llm.sks_cluster
  - module: selfhosted.llm.wait_nodes
"""

EXAMPLES = r"""
- name: Make a pool of one GPU node that only models use
  selfhosted.llm.sks_nodepool:
    zone: de-fra-1
    cluster: llm
    name: gpu
    instance_type: gpu3.small
    size: 1
    disk_size: 400
    labels: {role: llm}
    taints:
      nodepool: {value: llm, effect: NoSchedule}

- name: Pay for no GPU overnight
  selfhosted.llm.sks_nodepool:
    zone: de-fra-1
    cluster: llm
    name: gpu
    size: 0

- name: Delete the pool
  selfhosted.llm.sks_nodepool:
    zone: de-fra-1
    cluster: llm
    name: gpu
    state: absent
"""

RETURN = r"""
nodepool:
  description: The pool as it is after the task; in check mode, as it was.
  returned: when it exists
  type: dict
  contains:
    id:
      description: Id of the pool; its nodes have it in the label C(node.exoscale.net/nodepool-id).
      type: str
      sample: 7f3a9b52-1b0e-4a58-9d62-2b2c4d1f9e11
    name:
      description: Its name.
      type: str
      sample: gpu
    cluster:
      description: Name of its cluster.
      type: str
      sample: llm
    state:
      description: Its state.
      type: str
      sample: running
    instance_type:
      description: Family and size of its nodes.
      type: str
      sample: gpu3.small
    size:
      description: Number of nodes.
      type: int
      sample: 1
    disk_size:
      description: Disk of each node in GiB.
      type: int
      sample: 400
    instance_prefix:
      description: What the nodes' names begin with.
      type: str
      sample: pool
    labels:
      description: Labels of the nodes.
      type: dict
      sample: {role: llm}
    taints:
      description: Taints of the nodes.
      type: dict
      sample: {nodepool: {value: llm, effect: NoSchedule}}
    description:
      description: Its description, empty where it has none.
      type: str
      sample: ''
"""

import functools
import re

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Answer
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import STATE, Resource, body, hint, only

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# What a new pool has where the options don't say.
NEW = {"disk_size": 50, "instance_prefix": "pool", "labels": {}, "taints": {}, "description": ""}
NEEDED = ("instance_type", "size")


class NodePool(Resource):
    """The node pool that the module's options describe."""

    kind = "node pool"

    def read(self) -> Answer | None:
        """See Resource."""
        self._cluster = self.cluster()
        pools = self._cluster.get("nodepools", []) if self._cluster else []
        name = self.options["name"]
        return only(f"node pools named {name} in {self.options['cluster']}", [pool for pool in pools if pool["name"] == name])

    def describe(self, live: Answer) -> dict:
        """See Resource."""
        type_id = live.get("instance-type", {}).get("id")
        return {
            "instance_type": next((name for name, entry in self._types.items() if entry["id"] == type_id), type_id),
            "size": live["size"],
            "disk_size": live.get("disk-size"),
            "instance_prefix": live.get("instance-prefix", NEW["instance_prefix"]),
            "labels": live.get("labels", {}),
            "taints": live.get("taints", {}),
            "description": live.get("description") or "",
        }

    def desired(self, live: Answer | None) -> dict:
        """See Resource."""
        given = self._given()
        shown = self.describe(live) if live else NEW
        wanted = shown | given
        if missing := [name for name in NEEDED if name not in wanted]:
            raise ExoscaleError(f"The {self} does not exist, and to make it {' and '.join(missing)} must be given.")
        if not live and not wanted["size"]:
            raise ExoscaleError(
                f"The {self} does not exist, and Exoscale makes none of size 0: make it with size 1 or more, then scale it to 0."
            )
        if wanted["instance_type"] != shown.get("instance_type"):
            self._type(wanted["instance_type"])
        return wanted

    def create(self, wanted: dict) -> None:
        """See Resource."""
        about = {"name": self.options["name"]}
        if group := self._cluster.get("default-security-group-id"):
            about["security-groups"] = [{"id": group}]
        self.api.write("create-sks-nodepool", about | self._body(wanted), id=self._cluster["id"])

    def update(self, live: Answer, changes: dict) -> None:
        """See Resource."""
        ids = {"id": self._cluster["id"], "sks_nodepool_id": live["id"]}
        size = changes.pop("size", None)
        if changes:  # before there are new nodes, as only those get it
            self.api.write("update-sks-nodepool", self._body(changes), **ids)
        if size is not None:
            self.api.write("scale-sks-nodepool", {"size": size}, **ids)

    def delete(self, live: Answer) -> None:
        """See Resource."""
        self.api.write("delete-sks-nodepool", id=self._cluster["id"], sks_nodepool_id=live["id"])

    def facts(self, live: Answer) -> dict:
        """See Resource."""
        about = {name: live[name] for name in ("id", "name", "state")}
        return {"nodepool": about | {"cluster": self._cluster["name"]} | self.describe(live)}

    def _body(self, fields: dict) -> dict:
        if name := fields.get("instance_type"):
            fields = fields | {"instance_type": {"id": self._type(name)["id"]}}
        return body(fields)

    @functools.cached_property
    def _types(self) -> dict[str, Answer]:
        """All instance types that the organisation sees, by name."""
        types = self.api.call("list-instance-types")["instance-types"]
        return {f"{entry['family']}.{entry['size']}": entry for entry in types}

    def _type(self, name: str) -> Answer:
        """An instance type that a node can have here.

        Raises:
            ExoscaleError: there is none of this name, not here, or not for this organisation.
        """
        found, zone = self._types.get(name), self.api.zone
        family = name.partition(".")[0]
        # Families that must be asked for, which all with a GPU are, may not even be shown to who has not been granted them.
        hidden = name.startswith("gpu") and not any(other.startswith(f"{family}.") for other in self._types)
        if not found and not hidden:
            raise ExoscaleError(f"There is no instance type {name}. {hint(name, list(self._types))}")
        if found and zone not in found.get("zones", [zone]):
            raise ExoscaleError(f"There is no {name} in {zone}, only in {', '.join(found['zones'])}.")
        if hidden or not found.get("authorized", True):
            raise ExoscaleError(
                f"Your organisation is not authorised for {family} in {zone}: ask Exoscale's support for a quota of "
                f"{self.options['size'] or 1} {name}."
            )
        return found

    def _given(self) -> dict:
        """The fields that the options give.

        Raises:
            ExoscaleError: one of them can be no pool's.
        """
        given = {name: self.options[name] for name in (*NEEDED, *NEW) if self.options[name] is not None}
        name, prefix = self.options["name"], given.get("instance_prefix", "")
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise ExoscaleError(f"The name {name} of a node pool may have lowercase letters, digits and hyphens only.")
        if "instance_prefix" in given and not re.fullmatch(r"[a-z0-9-]{1,30}", prefix):
            raise ExoscaleError(
                f"The instance_prefix {prefix!r} of {name} must be 1 to 30 lowercase letters, digits and hyphens."
            )
        if given.get("size", 0) < 0:
            raise ExoscaleError(f"The size {given['size']} of {name} is below 0.")
        if not 20 <= given.get("disk_size", 20) <= 51200:
            raise ExoscaleError(f"The disk_size {given['disk_size']} of {name} is not between 20 and 51200 GiB.")
        if "labels" in given:
            given["labels"] = {str(key): _text(value) for key, value in given["labels"].items()}
        if "taints" in given:
            given["taints"] = {str(key): self._taint(key, taint) for key, taint in given["taints"].items()}
        return given

    def _taint(self, key: str, taint: object) -> dict:
        fields = taint if isinstance(taint, dict) else {}
        value, effect = _text(fields.get("value", "")), fields.get("effect")
        if set(fields) != {"value", "effect"} or effect not in EFFECTS or not value:
            raise ExoscaleError(
                f"The taint {key} of {self.options['name']} is {taint!r}: it needs a value and an effect, such as "
                f"{{value: llm, effect: NoSchedule}}, and the effect is one of {', '.join(EFFECTS)}."
            )
        return {"value": value, "effect": effect}


def _text(value: object) -> str:
    """A value as Kubernetes writes it, where YAML has made a number or a truth value of it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Run the module."""
    NodePool.run(
        STATE
        | {
            "cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "instance_type": {"type": "str"},
            "size": {"type": "int"},
            "disk_size": {"type": "int"},
            "instance_prefix": {"type": "str"},
            "labels": {"type": "dict"},
            "taints": {"type": "dict"},
            "description": {"type": "str"},
        }
    )


if __name__ == "__main__":
    main()
