# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""SKS clusters, node pools and instance types in the words of the modules' options."""

from __future__ import annotations

import base64
import functools

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Answer, Exoscale
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import described, hint
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import OFFERS

# Authorities of a cluster; each has a certificate.
AUTHORITIES = ("aggregation", "control-plane", "kubelet")
# Fields of a node pool that are lists of ids, and the kind of what has them.
REFERENCES = {
    "anti_affinity_groups": "anti-affinity group",
    "private_networks": "private network",
    "security_groups": "security group",
}


def describe_cluster(live: Answer) -> dict:
    """A cluster as the options of sks_cluster describe it."""
    cni = live.get("cni")
    return {
        "level": live["level"],
        "version": live["version"],
        "cni": cni,
        "addons": sorted(live.get("addons", [])),
        "auto_upgrade": live.get("auto-upgrade", False),
        "description": live.get("description", ""),
        "labels": live.get("labels", {}),
        "feature_gates": sorted(live.get("feature-gates", [])),
        "oidc": described(live.get("oidc", {})),
        "audit": described(live.get("audit", {})),
        "enable_kube_proxy": live.get("enable-kube-proxy", cni != "cilium"),
        "enable_operators_ca": live.get("enable-operators-ca", True),
        "default_security_group": "default-security-group-id" in live,
    }


def cluster_facts(api: Exoscale, live: Answer, certificates: bool) -> dict:
    """What modules return of a cluster; its authorities' certificates at the cost of a request for each."""
    facts = {name: live[name] for name in ("id", "name", "endpoint", "state")} | describe_cluster(live)
    facts["default_security_group_id"] = live.get("default-security-group-id")
    facts["nodepools"] = [pool["name"] for pool in live.get("nodepools", [])]
    asked = AUTHORITIES if certificates else ()
    facts["ca_certificates"] = {name.replace("-", "_"): _certificate(api, live, name) for name in asked}
    return facts


def _certificate(api: Exoscale, cluster: Answer, authority: str) -> str:
    answer = api.call("get-sks-cluster-authority-cert", id=cluster["id"], authority=authority)
    try:
        return base64.b64decode(answer["cacert"]).decode()
    except ValueError:
        raise ExoscaleError(f"What SKS sent as the certificate of the authority {authority} is none.") from None


def describe_pool(live: Answer, types: InstanceTypes) -> dict:
    """A node pool as the options of sks_nodepool describe it, with ids for what it refers to."""
    references = {name: sorted(entry["id"] for entry in live.get(name.replace("_", "-"), [])) for name in REFERENCES}
    return references | {
        "instance_type": types.name(live.get("instance-type", {}).get("id")),
        "size": live["size"],
        "disk_size": live.get("disk-size"),
        "instance_prefix": live.get("instance-prefix", "pool"),
        "labels": live.get("labels", {}),
        "taints": live.get("taints", {}),
        "description": live.get("description", ""),
        "deploy_target": live.get("deploy-target", {}).get("id", ""),
        "nvidia_mig_profiles": live.get("nvidia-mig-profiles", {}),
        "kubelet_image_gc": described(live.get("kubelet-image-gc", {})),
        "kubelet_max_pods": live.get("kubelet-max-pods", 0),
        "addons": sorted(live.get("addons", [])),
        "public_ip_assignment": live.get("public-ip-assignment", "inet4"),
    }


def pool_facts(cluster: Answer, live: Answer, types: InstanceTypes) -> dict:
    """What modules return of a node pool."""
    about = {name: live[name] for name in ("id", "name", "state")} | {"version": live.get("version")}
    return about | {"cluster": cluster["name"]} | describe_pool(live, types)


def pool_nodes(live: Answer, instances: list[Answer]) -> list[dict]:
    """The instances of a node pool, each with id, name (which is the node's too) and state, the oldest first."""
    manager = live.get("instance-pool", {}).get("id")
    found = [entry for entry in instances if manager and entry.get("manager", {}).get("id") == manager]
    found.sort(key=lambda entry: entry.get("created-at", ""))
    return [{name: entry[name] for name in ("id", "name", "state")} for entry in found]


class InstanceTypes:
    """The instance types that the organisation sees, and what it may have of them. Each list is asked for once."""

    def __init__(self, api: Exoscale):
        self._api = api

    @functools.cached_property
    def by_name(self) -> dict[str, Answer]:
        """The types by family and size, such as ``gpu3.small``."""
        types = self._api.call("list-instance-types")["instance-types"]
        return {f"{entry['family']}.{entry['size']}": entry for entry in types}

    @functools.cached_property
    def quotas(self) -> dict[str, Answer]:
        """The organisation's quotas by resource; each has limit (-1: none) and usage. GPU families count GPUs."""
        return {quota["resource"]: quota for quota in self._api.call("list-quotas")["quotas"]}

    def name(self, type_id: str | None) -> str | None:
        """Name of a type; of one that the organisation does not see, its id."""
        return next((name for name, entry in self.by_name.items() if entry["id"] == type_id), type_id)

    def need(self, name: str, count: int) -> Answer:
        """A type that so many nodes can have in the zone.

        Raises:
            ExoscaleError: there is none of this name, not here, or not for this organisation.
        """
        found, offer, zone = self.by_name.get(name), OFFERS.get(name), self._api.zone
        family = name.partition(".")[0]
        zones = found.get("zones", [zone]) if found else offer.zones if offer else [zone]
        # Families that must be asked for, as all with a GPU, may not even be shown to who has not been granted them.
        hidden = name.startswith("gpu") and not any(other.startswith(f"{family}.") for other in self.by_name)
        if not found and not hidden:
            raise ExoscaleError(f"There is no instance type {name}. {hint(name, list(self.by_name))}")
        if zone not in zones:
            raise ExoscaleError(f"There is no {name} in {zone}, only in {', '.join(zones)}.")
        if hidden or not found.get("authorized", True):
            gpus = found.get("gpus", 1) if found else offer.gpus if offer else 1
            raise ExoscaleError(self.not_authorised(family, max(count, 1) * gpus))
        return found

    def not_authorised(self, family: str, amount: int) -> str:
        """That the organisation may not use a family, and the cure."""
        return (
            f"Your organisation is not authorised for {family} in {self._api.zone}: ask Exoscale's support for a quota "
            f"of {amount} {family}."
        )

    def shortage(self, name: str, more: int) -> str | None:
        """Which quota does not allow so many more nodes of a type, and the cure; None where all do."""
        gpus = more * self.by_name[name].get("gpus", 0)
        for resource, amount in ((name.partition(".")[0], gpus), ("gpu", gpus), ("instance", more)):
            quota = self.quotas.get(resource)
            if amount and quota and 0 <= quota["limit"] < quota["usage"] + amount:
                return (
                    f"{more} more {name} need {amount} of your organisation's quota {resource}, of which "
                    f"{quota['usage']} of {quota['limit']} are used: ask Exoscale's support to raise it to "
                    f"{quota['usage'] + amount}."
                )
        return None
