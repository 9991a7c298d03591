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
  - What SKS cannot change in a cluster is refused, with what would have to be made anew.
  - A cluster that was made in another way is taken over by its name or id.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
options:
  name:
    description: Name of the cluster, or id of one that exists.
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
  labels:
    description: Labels of the cluster at Exoscale. All others are removed, so V({}) clears them.
    type: dict
    version_added: 0.2.0
  feature_gates:
    description: Alpha features of Kubernetes that the API server has. All others are turned off.
    type: list
    version_added: 0.2.0
    elements: str
  oidc:
    description:
      - An OpenID provider, whose users the API server knows.
      - A suboption that is not given stays as it is, and an empty one is removed. V({}) removes the provider.
    type: dict
    version_added: 0.2.0
    suboptions:
      client_id:
        description: Client id. Needed for a new provider.
        type: str
      issuer_url:
        description: Address of the provider. Needed for a new provider.
        type: str
      username_claim:
        description: Claim of the token that is the user's name.
        type: str
      username_prefix:
        description: What is put before users' names.
        type: str
      groups_claim:
        description: Claim of the token that has the user's groups.
        type: str
      groups_prefix:
        description: What is put before groups' names.
        type: str
      required_claim:
        description: Claims that a token must have, each with its value.
        type: dict
  audit:
    description: Where the API server sends what is done in the cluster. A suboption that is not given stays as it is.
    type: dict
    version_added: 0.2.0
    suboptions:
      enabled:
        description: Whether it is sent. It is for a new endpoint.
        type: bool
      endpoint:
        description: Address that it is sent to. Needed at first.
        type: str
      bearer_token:
        description:
          - Token for the endpoint. Needed at first. It appears in no result, diff or log.
          - SKS does not tell which token it has. It is thus sent with other changes of O(audit), and on its own only
            with O(audit.update_token=true).
        type: str
      initial_backoff:
        description: How long the first pause is after a failure, such as V(10s).
        type: str
      update_token:
        description:
          - Whether O(audit.bearer_token) is sent although nothing else changes. The task then always changes something.
        type: bool
        default: false
  enable_kube_proxy:
    description:
      - Whether SKS runs kube-proxy. It cannot be changed.
      - A new cluster has it, unless O(cni=cilium), which does without.
    type: bool
    version_added: 0.2.0
  enable_operators_ca:
    description: Whether the API server trusts the authority of Exoscale's operators. It does in a new cluster.
    type: bool
    version_added: 0.2.0
  default_security_group:
    description:
      - Whether the cluster has a security group with what its network plugin needs, which
        M(selfhosted.llm.sks_nodepool) gives to all nodes. It cannot be changed. A new cluster has one.
    type: bool
    version_added: 0.2.0
  networking:
    description:
      - Addresses in a new cluster, where they shall be others than SKS chooses.
      - They cannot be changed, and SKS does not tell what they are. They are thus not compared in a cluster that is there.
    type: dict
    version_added: 0.2.0
    suboptions:
      cluster_cidr:
        description: Range of the pods, or an IPv4 and an IPv6 one with a comma between.
        type: str
      service_cluster_ip_range:
        description: Range of the services, or two as in O(networking.cluster_cidr).
        type: str
      node_cidr_mask_size_ipv4:
        description: Size of the mask of a node's part of the pods' range.
        type: int
      node_cidr_mask_size_ipv6:
        description: The same for IPv6.
        type: int
  ca_certificates:
    description: Whether the result has the certificates of the cluster's authorities, which takes three requests.
    type: bool
    version_added: 0.2.0
    default: false
  force:
    description: Whether O(state=absent) also deletes the cluster's node pools, with all that runs there.
    type: bool
    default: false
seealso:
  - module: selfhosted.llm.sks_cluster_info
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

- name: Let the users of an OpenID provider in
  selfhosted.llm.sks_cluster:
    zone: de-fra-1
    name: llm
    oidc:
      issuer_url: https://login.example.com
      client_id: kubernetes
      groups_claim: groups
      groups_prefix: "oidc:"

- name: Have all that is done in it sent away
  selfhosted.llm.sks_cluster:
    zone: de-fra-1
    name: llm
    audit:
      endpoint: https://audit.example.com/sks
      bearer_token: "{{ audit_token }}"

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
    labels:
      description: Its labels at Exoscale.
      type: dict
      sample: {}
    feature_gates:
      description: Alpha features of its API server.
      type: list
      elements: str
      sample: []
    oidc:
      description: Its OpenID provider, named like the option; empty where it has none.
      type: dict
      sample: {}
    audit:
      description:
        - Where what is done in it is sent, with C(enabled), C(endpoint) and C(initial_backoff), never the token.
      type: dict
      sample: {}
    enable_kube_proxy:
      description: Whether SKS runs kube-proxy.
      type: bool
      sample: true
    enable_operators_ca:
      description: Whether it trusts the authority of Exoscale's operators.
      type: bool
      sample: true
    default_security_group:
      description: Whether it has a security group of its own.
      type: bool
      sample: true
    default_security_group_id:
      description: Id of that group, null where there is none.
      type: str
      sample: 5a39d9c6-1a5c-4d1c-8d0f-3a8f0d7b5a0e
    nodepools:
      description: Names of its node pools.
      type: list
      elements: str
      sample: [default, llm]
    ca_certificates:
      description:
        - Certificates of its authorities in PEM, as C(aggregation), C(control_plane) and C(kubelet). They are public.
        - Empty without O(ca_certificates=true).
      type: dict
      sample:
        control_plane: "-----BEGIN CERTIFICATE-----..."
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
    text,
)
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.sks import cluster_facts, describe_cluster

ADDONS = ["exoscale-cloud-controller", "exoscale-container-storage-interface", "karpenter", "metrics-server"]
# What a new cluster has where the options don't say, apart from the version and kube-proxy.
NEW = {
    "level": "starter",
    "cni": "calico",
    "addons": ["exoscale-cloud-controller", "exoscale-container-storage-interface", "metrics-server"],
    "auto_upgrade": False,
    "description": "",
    "labels": {},
    "feature_gates": [],
    "oidc": {},
    "audit": {},
    "enable_operators_ca": True,
    "default_security_group": True,
}
IMMUTABLE = ("cni", "enable_kube_proxy", "default_security_group")


class Cluster(Resource):
    """The cluster that the module's options describe."""

    kind = "cluster"
    _token_sent = False

    def absent(self) -> dict:
        """Delete the cluster; return the module's result."""
        return self.converge(self._nothing)

    def read(self) -> Answer | None:
        """See Resource."""
        return find("cluster", self.options["name"], self.api.zone, self.clusters())

    def describe(self, live: Answer) -> dict:
        """See Resource."""
        return describe_cluster(live)

    def desired(self, live: Answer | None) -> dict:
        """See Resource."""
        shown = self.describe(live) if live else NEW
        given = {name: self.options[name] for name in (*NEW, "enable_kube_proxy") if self.options[name] is not None}
        for name in {"addons", "feature_gates"} & given.keys():
            given[name] = sorted(set(given[name]))
        if "labels" in given:
            given["labels"] = _texts(given["labels"])
        given |= {"oidc": self._oidc(shown["oidc"]), "audit": self._audit(shown["audit"])}
        if not live:
            kube_proxy = given.get("cni") != "cilium"
            return NEW | {"enable_kube_proxy": kube_proxy} | given | {"version": self._newest(self.options["version"])}
        wanted = shown | given | {"version": self._next(live)}
        for name in IMMUTABLE:
            if wanted[name] != shown[name]:
                raise self._immutable(live, name, wanted[name])
        if wanted["level"] != shown["level"] and shown["level"] != "starter":
            raise self._immutable(live, "level", wanted["level"])
        return wanted

    def create(self, wanted: dict) -> None:
        """See Resource."""
        fields = self._body(wanted) | {"create-default-security-group": wanted["default_security_group"]}
        if networking := merged({}, self.options["networking"]):
            fields["networking"] = body(networking)
        for name in ("default-security-group", "enable-operators-ca"):
            del fields[name]
        fields = {name: value for name, value in fields.items() if value not in (None, {})}
        fields.get("audit", {}).pop("enabled", None)
        made = self.api.write("create-sks-cluster", {"name": self.options["name"]} | fields)
        self._token_sent = True
        if not wanted["enable_operators_ca"]:  # which a new cluster cannot be asked for
            self.update(made["reference"], {"enable_operators_ca": False})

    def update(self, live: Answer, changes: dict) -> None:
        """See Resource."""
        version, level = changes.pop("version", None), changes.pop("level", None)
        if changes:
            self.api.write("update-sks-cluster", self._body(changes), id=live["id"])
            self._token_sent |= "audit" in changes
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
        return {"cluster": cluster_facts(self.api, live, self.options["ca_certificates"])}

    def _body(self, fields: dict) -> dict:
        """Fields of a description as the API takes them; null clears one."""
        if "oidc" in fields:
            fields = fields | {"oidc": body(fields["oidc"]) or None}
        if "audit" in fields:
            audit = {name: value for name, value in fields["audit"].items() if name != "bearer_token"}
            fields = fields | {"audit": body(audit | merged({}, {"bearer_token": self._token()}) if audit else audit)}
        return body(fields)

    def _token(self) -> str | None:
        return (self.options["audit"] or {}).get("bearer_token")

    def _oidc(self, shown: dict) -> dict:
        given = self.options["oidc"]
        if given is None:
            return shown
        wanted = merged(shown, given) if any(value is not None for value in given.values()) else {}
        if "required_claim" in wanted:
            wanted["required_claim"] = _texts(wanted["required_claim"])
        if wanted and not {"client_id", "issuer_url"} <= wanted.keys():
            raise ExoscaleError(f"The oidc of {self.options['name']} needs client_id and issuer_url.")
        return wanted

    def _audit(self, shown: dict) -> dict:
        given = dict(self.options["audit"] or {})
        renew, token = given.pop("update_token", False), given.pop("bearer_token", None)
        wanted = merged(shown, given)
        if not shown:
            if wanted.get("enabled") is False or not (wanted or token):
                return {}
            wanted["enabled"] = True
            if not (token and "endpoint" in wanted):
                raise ExoscaleError(f"The audit of {self.options['name']} is new: it needs endpoint and bearer_token.")
        if renew and token and not self._token_sent:
            wanted["bearer_token"] = "another"  # what a diff shows
        return wanted

    def _immutable(self, live: Answer, field: str, wanted: object) -> ExoscaleError:
        """That a field cannot become what is wanted, and what that would take."""
        pools = ", ".join(sorted(pool["name"] for pool in live.get("nodepools", [])))
        anew = f"the cluster and its node pools {pools}" if pools else "the cluster"
        return ExoscaleError(
            f"The {self} has {field} {self.describe(live)[field]}, which cannot be changed to {wanted}: for that, "
            f"delete and make anew {anew}."
        )

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
            raise self._immutable(live, "version", wanted)
        if goal[0] != now[0] or goal[1] > now[1] + 1:
            raise ExoscaleError(
                f"The {self} has version {shown}, and is upgraded by one minor version at a time: set version to "
                f"\"{now[0]}.{now[1] + 1}\" first."
            )
        return self._newest(wanted)


def _texts(fields: dict) -> dict[str, str]:
    return {str(key): text(value) for key, value in fields.items()}


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
            "labels": {"type": "dict"},
            "feature_gates": {"type": "list", "elements": "str"},
            "oidc": {
                "type": "dict",
                "options": {
                    "client_id": {"type": "str"},
                    "issuer_url": {"type": "str"},
                    "username_claim": {"type": "str"},
                    "username_prefix": {"type": "str"},
                    "groups_claim": {"type": "str"},
                    "groups_prefix": {"type": "str"},
                    "required_claim": {"type": "dict"},
                },
            },
            "audit": {
                "type": "dict",
                "options": {
                    "enabled": {"type": "bool"},
                    "endpoint": {"type": "str"},
                    "bearer_token": {"type": "str", "no_log": True},
                    "initial_backoff": {"type": "str"},
                    "update_token": {"type": "bool", "default": False, "no_log": False},
                },
            },
            "enable_kube_proxy": {"type": "bool"},
            "enable_operators_ca": {"type": "bool"},
            "default_security_group": {"type": "bool"},
            "networking": {
                "type": "dict",
                "options": {
                    "cluster_cidr": {"type": "str"},
                    "service_cluster_ip_range": {"type": "str"},
                    "node_cidr_mask_size_ipv4": {"type": "int"},
                    "node_cidr_mask_size_ipv6": {"type": "int"},
                },
            },
            "ca_certificates": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        }
    )


if __name__ == "__main__":
    main()
