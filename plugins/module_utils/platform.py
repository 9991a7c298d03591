# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platform's record on its cluster: what engineers must know of it, and may read."""

from __future__ import annotations

import json
from typing import NamedTuple

from .gpu import pool_record
from .kube.client import Kube, KubeError
from .kube.kinds import BY_NAME

PATH = BY_NAME["ConfigMap"].path("selfhosted-llm", "platform")


class Record(NamedTuple):
    """What the platform's admin published.

    Attributes:
        pools: the GPU pools, as ``gpu.pool_record`` makes them, also where they sleep.
        asleep: since when the GPU pools sleep (UTC, ISO 8601); empty where they do not.
        engineers: the names of all engineers.
    """

    pools: list[dict]
    asleep: str
    engineers: list[str]


def read_record(kube: Kube) -> Record | None:
    """The record, or None where there is none, or none that this user may read."""
    try:
        data = kube.request("GET", PATH)["data"]
    except KubeError as error:
        if error.status in (403, 404):
            return None
        raise
    return Record(json.loads(data["pools"]), data.get("asleep", ""), json.loads(data.get("engineers", "[]")))


def asleep(pools: list[dict]) -> list[dict]:
    """Node pools (entries of sks_gpu_nodes_pools) as they are while they sleep: those with GPUs have no nodes."""
    return [pool | {"size": 0} if pool_record(pool) else pool for pool in pools]
