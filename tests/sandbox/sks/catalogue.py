# SPDX-License-Identifier: GPL-3.0-or-later
"""What Exoscale offers the sandbox's organisation, as data: zones, instance types, versions of Kubernetes, quotas."""
from __future__ import annotations

import uuid

KEY, SECRET = "EXOsandbox", "secret-of-the-sandbox"

ZONES = ("at-vie-1", "at-vie-2", "bg-sof-1", "ch-dk-2", "ch-gva-2", "de-fra-1", "de-muc-1", "hr-zag-1")
DEFAULT_ZONE = "de-fra-1"  # that of the plain address; the one that has GPU3

# Newest first. The first is what the sandbox's cluster runs.
VERSIONS = ("1.34.4", "1.34.1", "1.33.5", "1.32.9")
DEPRECATED = ("1.31.13",)

# Organisation-wide, by the names that `exo limits` knows. GPU families count GPUs; with 0 of them the organisation is
# not authorised for the family.
QUOTAS = {
    "instance": 20, "gpu": 4, "gpu2": 0, "gpu3": 4, "gpu3080ti": 0, "gpua30": 0, "gpua5000": 0, "gpurtx6000pro": 0,
    "sks-cluster": 5, "network-load-balancer": 5, "private-network": 10, "elastic-ip": 10, "snapshot": 20,
    "template": 20, "iam-key": 20, "bucket": 20, "database": 5, "block-storage-volume": 20, "block-storage": 10240,
    "block-storage-max-size": 10240,
}

# What node pools can refer to in each zone, by the API's names; a cluster's default security group comes on top.
GROUPS = {
    "anti-affinity-groups": ("spread",), "deploy-targets": ("dedicated",), "private-networks": ("storage", "backup"),
    "security-groups": ("monitoring", "ssh"),
}

# family, size, GPUs, vCPUs, GiB, zones
_TYPES = (
    *(("standard", size, 0, cpus, memory, ZONES) for size, cpus, memory in (
        ("micro", 1, 0.5), ("tiny", 1, 1), ("small", 2, 2), ("medium", 2, 4), ("large", 4, 8), ("extra-large", 4, 16),
        ("huge", 8, 32), ("mega", 12, 64), ("titan", 16, 128))),
    ("gpu3", "small", 1, 12, 56, ("de-fra-1",)),
    ("gpu3", "medium", 2, 24, 120, ("de-fra-1",)),
    ("gpu3", "large", 4, 48, 224, ("de-fra-1",)),
    ("gpu3", "huge", 8, 96, 448, ("de-fra-1",)),
    ("gpua5000", "small", 1, 12, 56, ("at-vie-2",)),
    ("gpua30", "small", 1, 12, 56, ("hr-zag-1",)),
)


def identity(name: str) -> str:
    """The id of a thing that is always there: the same in every sandbox."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{name}"))


# By id, as the API describes them but for `authorized`.
TYPES = {
    identity(f"{family}.{size}"): {
        "id": identity(f"{family}.{size}"), "family": family, "size": size, "cpus": cpus,
        "memory": int(memory * 1024**3), "zones": list(zones), **({"gpus": gpus} if gpus else {})}
    for family, size, gpus, cpus, memory, zones in _TYPES
}
# Images of nodes by id: version of Kubernetes and variant.
TEMPLATES = {
    identity(f"{version}-{variant}"): (version, variant)
    for version in (*VERSIONS, *DEPRECATED) for variant in ("standard", "nvidia")
}
