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
    to join the cluster, see M(selfhosted.llm.prepare_nodes).
  - Only O(zone), O(cluster) and O(name) are needed for a pool that exists, and what is not given is left as it is.
  - Whether the organisation may have the instance type, and has quota for all new nodes, is known before anything is
    written, in check mode too.
  - Exoscale makes new nodes as the pool says, and leaves those that run as they are. A new type, disk, label or taint is thus
    seen on new nodes only.
  - A pool shrinks only by the nodes that O(evict) names, or with O(allow_shrink=true). Exoscale drains none of them.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
options:
  cluster:
    description: Name or id of the cluster.
    type: str
    required: true
  name:
    description: Name of the pool, in lowercase, or id of one that exists.
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
  evict:
    description:
      - Names or ids of nodes, which are those that go when O(size) is below the pool's present size. Drain them before.
      - They must be just as many as that takes. Needs O(size), and does nothing where the pool has that already.
    type: list
    version_added: 0.2.0
    elements: str
  allow_shrink:
    description:
      - Whether the pool may lose nodes that O(evict) does not name. Exoscale then chooses which, and whatever runs there
        is cut off.
    type: bool
    version_added: 0.2.0
    default: false
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
  security_groups:
    description:
      - Security groups of the nodes, by name or id. All others are removed, so V([]) clears them.
      - The cluster's own one is always among them, as nodes do not find one another without it. A new pool has just that.
    type: list
    version_added: 0.2.0
    elements: str
  anti_affinity_groups:
    description: Anti-affinity groups of the nodes, by name or id. All others are removed, so V([]) clears them.
    type: list
    version_added: 0.2.0
    elements: str
  private_networks:
    description: Private networks of the nodes, by name or id. All others are removed, so V([]) clears them.
    type: list
    version_added: 0.2.0
    elements: str
  deploy_target:
    description: Deploy target, such as a dedicated hypervisor, by name or id. An empty one clears it.
    type: str
    version_added: 0.2.0
  nvidia_mig_profiles:
    description:
      - How GPUs are partitioned, a profile such as V(1g.6gb) under the name of the GPU, which is V(a30.24gb) for the
        family C(gpua30), V(rtxpro6000.96gb) for C(gpurtx6000pro) and V(b300.269gb) for C(gpub300). V({}) clears it.
      - The A40 of the family C(gpu3) has no such thing.
    type: dict
    version_added: 0.2.0
  kubelet_image_gc:
    description: When a node removes images that it does not need. A suboption that is not given stays as it is.
    type: dict
    version_added: 0.2.0
    suboptions:
      high_threshold:
        description: From how many percent of the disk on.
        type: int
      low_threshold:
        description: Until how many percent, which are fewer.
        type: int
      min_age:
        description: How old an image is at least, such as V(2m).
        type: str
  kubelet_max_pods:
    description: How many pods a node has at most. V(0) leaves that to the kubelet, as in a new pool.
    type: int
    version_added: 0.2.0
  addons:
    description: What SKS adds to the nodes. It cannot be changed. A new pool has nothing.
    type: list
    version_added: 0.2.0
    elements: str
    choices: [storage-lvm]
  public_ip_assignment:
    description: Whether nodes have an IPv4 address only, as in a new pool, or an IPv6 one too.
    type: str
    version_added: 0.2.0
    choices: [inet4, dual]
seealso:
  - module: selfhosted.llm.sks_nodepool_info
  - module: selfhosted.llm.gpu_offer_info
  - module: selfhosted.llm.sks_cluster
  - module: selfhosted.llm.prepare_nodes
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

- name: Have another, in a network of our own
  selfhosted.llm.sks_nodepool:
    zone: de-fra-1
    cluster: llm
    name: gpu
    size: 2
    security_groups: [monitoring]
    private_networks: [storage]

- name: Pay for no GPU overnight
  selfhosted.llm.sks_nodepool:
    zone: de-fra-1
    cluster: llm
    name: gpu
    size: 0
    allow_shrink: true

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
    version:
      description: Kubernetes version of new nodes.
      type: str
      sample: 1.34.1
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
    security_groups:
      description: Ids of the nodes' security groups.
      type: list
      elements: str
      sample: [5a39d9c6-1a5c-4d1c-8d0f-3a8f0d7b5a0e]
    anti_affinity_groups:
      description: Ids of the nodes' anti-affinity groups.
      type: list
      elements: str
      sample: []
    private_networks:
      description: Ids of the nodes' private networks.
      type: list
      elements: str
      sample: []
    deploy_target:
      description: Id of its deploy target, empty where it has none.
      type: str
      sample: ''
    nvidia_mig_profiles:
      description: How GPUs are partitioned.
      type: dict
      sample: {}
    kubelet_image_gc:
      description: When a node removes images, named like the option.
      type: dict
      sample: {high_threshold: 85, low_threshold: 80, min_age: 2m}
    kubelet_max_pods:
      description: How many pods a node has at most, V(0) where that is left to the kubelet.
      type: int
      sample: 0
    addons:
      description: What SKS adds to the nodes.
      type: list
      elements: str
      sample: []
    public_ip_assignment:
      description: Which public addresses nodes have.
      type: str
      sample: inet4
evicted:
  description: Names of the nodes of O(evict) that went or, in check mode, would go.
  returned: when there are some
  type: list
  elements: str
  sample: [pool-3f2a1-xkzqp]
"""

import re

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Answer
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import (
    STATE,
    Resource,
    body,
    find,
    merged,
    need,
    text,
)
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.sks import (
    REFERENCES,
    InstanceTypes,
    describe_pool,
    pool_facts,
    pool_nodes,
)
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import OFFERS

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# What a new pool has where the options don't say.
NEW = {
    "disk_size": 50,
    "instance_prefix": "pool",
    "labels": {},
    "taints": {},
    "description": "",
    "security_groups": [],
    "anti_affinity_groups": [],
    "private_networks": [],
    "deploy_target": "",
    "nvidia_mig_profiles": {},
    "kubelet_image_gc": {},
    "kubelet_max_pods": 0,
    "addons": [],
    "public_ip_assignment": "inet4",
}
NEEDED = ("instance_type", "size")
# How the API calls the GPU of the families whose GPUs can be partitioned.
MIG = {"gpua30": "a30.24gb", "gpub300": "b300.269gb", "gpurtx6000pro": "rtxpro6000.96gb"}
# Keys and values of labels and taints, as Kubernetes takes them; a node with others would never join.
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class NodePool(Resource):
    """The node pool that the module's options describe."""

    kind = "node pool"

    def __init__(self, module):
        super().__init__(module)
        self._types = InstanceTypes(self.api)
        self._lists: dict[str, list[Answer]] = {}
        self._leaving: list[str] = []

    def present(self) -> dict:
        """See ExoscaleModule."""
        result = super().present()
        return result | ({"evicted": self._leaving} if self._leaving else {})

    def read(self) -> Answer | None:
        """See Resource."""
        self._cluster = self.cluster()
        pools = self._cluster.get("nodepools", []) if self._cluster else []
        return find(self.kind, self.options["name"], self.options["cluster"], pools)

    def describe(self, live: Answer) -> dict:
        """See Resource."""
        return describe_pool(live, self._types)

    def desired(self, live: Answer | None) -> dict:
        """See Resource."""
        own = self._cluster.get("default-security-group-id") if self._cluster else None
        shown = self.describe(live) if live else NEW | {"security_groups": [own] if own else []}
        given = self._given(shown["kubelet_image_gc"], own)
        wanted = shown | given
        if missing := [name for name in NEEDED if name not in wanted]:
            raise ExoscaleError(f"The {self} does not exist, and to make it {' and '.join(missing)} must be given.")
        if not live and not wanted["size"]:
            raise ExoscaleError(
                f"The {self} does not exist, and Exoscale makes none of size 0: make it with size 1 or more, then scale it to 0."
            )
        if live and wanted["addons"] != shown["addons"]:
            raise ExoscaleError(
                f"The {self} has the addons {shown['addons']}, which cannot be changed to {wanted['addons']}: for that, "
                f"delete and make anew the pool with its {shown['size']} nodes, or make another beside it."
            )
        if "nvidia_mig_profiles" in given:
            self._check_mig(wanted["instance_type"], given["nvidia_mig_profiles"])
        return wanted

    def preflight(self, live: Answer | None, wanted: dict) -> None:
        """See Resource."""
        if not wanted:
            return
        more = wanted["size"] - (live["size"] if live else 0)
        if more > 0 or wanted["instance_type"] != self.describe(live)["instance_type"]:
            self._types.need(wanted["instance_type"], wanted["size"])
        if more > 0 and (shortage := self._types.shortage(wanted["instance_type"], more)):
            raise ExoscaleError(f"The {self} cannot have {wanted['size']} nodes: {shortage}")
        if more < 0:
            self._leaving = self._choose(live, -more)

    def create(self, wanted: dict) -> None:
        """See Resource."""
        # Another look, at the cluster itself: Exoscale would make a second pool of the same name, and bill it.
        pools = self.api.call("get-sks-cluster", id=self._cluster["id"]).get("nodepools", [])
        if find(self.kind, self.options["name"], self.options["cluster"], pools):
            raise ExoscaleError(f"The {self} exists, but Exoscale's list does not show it: run again.", transient=True)
        fields = {name: value for name, value in self._body(wanted).items() if value not in (None, {}, [], "")}
        self.api.write("create-sks-nodepool", {"name": self.options["name"]} | fields, id=self._cluster["id"])

    def update(self, live: Answer, changes: dict) -> None:
        """See Resource."""
        ids = {"id": self._cluster["id"], "sks_nodepool_id": live["id"]}
        size = changes.pop("size", live["size"])
        if changes:  # before there are new nodes, as only those get it
            self.api.write("update-sks-nodepool", self._body(changes), **ids)
        leaving = []
        if self._leaving and size < live["size"]:
            leaving = [node["id"] for node in self._nodes(live) if node["name"] in self._leaving]
            self.api.write("evict-sks-nodepool-members", {"instances": leaving}, **ids)
        if size != live["size"] - len(leaving):
            self.api.write("scale-sks-nodepool", {"size": size}, **ids)

    def delete(self, live: Answer) -> None:
        """See Resource."""
        self.api.write("delete-sks-nodepool", id=self._cluster["id"], sks_nodepool_id=live["id"])

    def facts(self, live: Answer) -> dict:
        """See Resource."""
        return {"nodepool": pool_facts(self._cluster, live, self._types)}

    def _body(self, fields: dict) -> dict:
        """Fields of a description as the API takes them; null clears one."""
        taken = dict(fields)
        for name in REFERENCES.keys() & fields.keys():
            taken[name] = [{"id": reference} for reference in fields[name]]
        for name in {"nvidia_mig_profiles", "kubelet_max_pods", "deploy_target"} & fields.keys():
            taken[name] = fields[name] or None
        if target := taken.get("deploy_target"):
            taken["deploy_target"] = {"id": target}
        if name := fields.get("instance_type"):
            taken["instance_type"] = {"id": self._types.need(name, fields.get("size", 1))["id"]}
        if "kubelet_image_gc" in fields:
            taken["kubelet_image_gc"] = body(fields["kubelet_image_gc"])
        return body(taken)

    def _nodes(self, live: Answer) -> list[dict]:
        return pool_nodes(live, self.api.call("list-instances")["instances"])

    def _choose(self, live: Answer, fewer: int) -> list[str]:
        """Names of the nodes of the option ``evict`` that go when a pool shrinks.

        Raises:
            ExoscaleError: they are not just as many as that takes.
        """
        nodes, named = self._nodes(live), self.options["evict"] or []
        chosen = [node["name"] for node in nodes if {node["id"], node["name"]} & set(named)]
        if len(chosen) == fewer or len(chosen) < fewer and self.options["allow_shrink"]:
            return chosen
        raise ExoscaleError(
            f"The {self} has {live['size']} nodes, and size {self.options['size']} takes {fewer} of them away, with all that "
            f"runs there: drain and name in evict just as many of {', '.join(node['name'] for node in nodes)} "
            f"({len(chosen)} are named), or set allow_shrink to let Exoscale choose."
        )

    def _check_mig(self, instance_type: str, profiles: dict) -> None:
        """Refuse partitions that the type's GPU cannot have."""
        family, offer = instance_type.partition(".")[0], OFFERS.get(instance_type)
        gpu = MIG.get(family)
        if profiles and not gpu:
            card = f" (NVIDIA {offer.gpu})" if offer else ""
            raise ExoscaleError(
                f"The nvidia_mig_profiles of {self.options['name']} cannot be had: {instance_type}{card} has no MIG, "
                f"only {', '.join(MIG)} have. Deployments can share its GPUs by time-slicing instead."
            )
        if strange := [name for name in profiles if name != gpu]:
            raise ExoscaleError(
                f"The nvidia_mig_profiles of {self.options['name']} have {strange[0]}; for {instance_type} it is {gpu}."
            )

    def _given(self, image_gc: dict, own_group: str | None) -> dict:
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
        if not 0 <= given.get("kubelet_max_pods", 0) <= 65535:
            raise ExoscaleError(f"The kubelet_max_pods {given['kubelet_max_pods']} of {name} is not within 0 and 65535.")
        if "labels" in given:
            given["labels"] = {str(key): self._label(str(key), text(value)) for key, value in given["labels"].items()}
        if "taints" in given:
            given["taints"] = {str(key): self._taint(str(key), taint) for key, taint in given["taints"].items()}
        if "kubelet_image_gc" in given:
            given["kubelet_image_gc"] = self._image_gc(image_gc)
        if "addons" in given:
            given["addons"] = sorted(set(given["addons"]))
        for field, kind in REFERENCES.items():
            if field in given:
                given[field] = sorted({self._id(kind, reference) for reference in given[field]})
        if own_group and "security_groups" in given:
            given["security_groups"] = sorted({*given["security_groups"], own_group})
        if given.get("deploy_target"):
            given["deploy_target"] = self._id("deploy target", given["deploy_target"])
        return given

    def _id(self, kind: str, name: str) -> str:
        """Id of what has this name or id."""
        if kind not in self._lists:
            kinds = f"{kind.replace(' ', '-')}s"
            # Names are optional there.
            self._lists[kind] = [Answer({"name": entry["id"]} | entry) for entry in self.api.call(f"list-{kinds}")[kinds]]
        return need(kind, name, self.api.zone, self._lists[kind])["id"]

    def _image_gc(self, shown: dict) -> dict:
        wanted = merged(shown, self.options["kubelet_image_gc"])
        low, high = wanted.get("low_threshold", 0), wanted.get("high_threshold", 100)
        if not 0 <= low < high <= 100:
            raise ExoscaleError(
                f"The kubelet_image_gc of {self.options['name']} has the low_threshold {low} and the high_threshold {high}, "
                "which must be percents, the low one below the high one."
            )
        return wanted

    def _label(self, key: str, value: str) -> str:
        if not (KEY.fullmatch(key) and VALUE.fullmatch(value)):
            raise ExoscaleError(
                f"The label {key}: {value} of {self.options['name']} is none for Kubernetes: a key has at most 63 letters, "
                "digits and -_. (after a domain and a slash, perhaps), and so has a value; both begin and end with a letter "
                "or digit."
            )
        return value

    def _taint(self, key: str, taint: object) -> dict:
        fields = taint if isinstance(taint, dict) else {}
        value, effect = text(fields.get("value", "")), fields.get("effect")
        if set(fields) != {"value", "effect"} or effect not in EFFECTS or not value:
            raise ExoscaleError(
                f"The taint {key} of {self.options['name']} is {taint!r}: it needs a value and an effect, such as "
                f"{{value: llm, effect: NoSchedule}}, and the effect is one of {', '.join(EFFECTS)}."
            )
        return {"value": self._label(key, value), "effect": effect}


def main() -> None:
    """Run the module."""
    NodePool.run(
        STATE
        | {
            "cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "instance_type": {"type": "str"},
            "size": {"type": "int"},
            "evict": {"type": "list", "elements": "str"},
            "allow_shrink": {"type": "bool", "default": False},
            "disk_size": {"type": "int"},
            "instance_prefix": {"type": "str"},
            "labels": {"type": "dict"},
            "taints": {"type": "dict"},
            "description": {"type": "str"},
            "security_groups": {"type": "list", "elements": "str"},
            "anti_affinity_groups": {"type": "list", "elements": "str"},
            "private_networks": {"type": "list", "elements": "str"},
            "deploy_target": {"type": "str"},
            "nvidia_mig_profiles": {"type": "dict"},
            "kubelet_image_gc": {
                "type": "dict",
                "options": {
                    "high_threshold": {"type": "int"},
                    "low_threshold": {"type": "int"},
                    "min_age": {"type": "str"},
                },
            },
            "kubelet_max_pods": {"type": "int"},
            "addons": {"type": "list", "elements": "str", "choices": ["storage-lvm"]},
            "public_ip_assignment": {"type": "str", "choices": ["inet4", "dual"]},
        },
        required_by={"evict": ("size",)},
    )


if __name__ == "__main__":
    main()
