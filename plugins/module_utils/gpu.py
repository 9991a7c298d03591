# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPU offers, what a pool makes of them, and which pool takes a deployment."""

from __future__ import annotations

from typing import NamedTuple

from .errors import UserError

# On every node of a pool; the value is the pool's name.
POOL_LABEL = "selfhosted.llm/pool"


class Offer(NamedTuple):
    """One instance type with GPUs.

    Attributes:
        gpu: name of the card.
        gpus: cards in one node.
        mib: memory of one card that CUDA can use, in MiB.
        eur_per_hour: price of one node.
        cpus: virtual CPUs of one node.
        memory_gib: memory of one node.
        zones: where it is offered.
    """

    gpu: str
    gpus: int
    mib: int
    eur_per_hour: float
    cpus: int
    memory_gib: int
    zones: tuple[str, ...] = ("de-fra-1",)


# Exoscale's price list of 2026; 45404 MiB (44.34 GiB) is what CUDA reports on an A40 there, of nominally 48 GB.
OFFERS = {
    "gpu3.small": Offer("A40", 1, 45404, 1.0453, 12, 56),
    "gpu3.medium": Offer("A40", 2, 45404, 2.0907, 24, 120),
    "gpu3.large": Offer("A40", 4, 45404, 4.1813, 48, 224),
    "gpu3.huge": Offer("A40", 8, 45404, 8.3627, 96, 448),
}


class Placement(NamedTuple):
    """Where a deployment runs.

    Attributes:
        pool: the pool's record, as ``pool_record`` makes it.
        slots: ``nvidia.com/gpu`` to request; cards of a whole-card pool, or one slot of a sliced one.
        mib: GPU memory of the share.
    """

    pool: dict
    slots: int
    mib: int


class PlacementError(UserError):
    """No pool takes the share, as a sentence without host and variable."""


class PoolError(UserError):
    """A pool as the platform's inventory has it cannot be, as a sentence with the variable."""


def pool_record(pool: dict) -> dict | None:
    """What engineers must know of a node pool (an entry of sks_gpu_nodes_pools); None for a pool without GPUs.

    Raises:
        PoolError: the cards cannot be shared like this.
    """
    offer = OFFERS.get(pool["instance_type"])
    if offer is None:
        return None
    slots = pool.get("slots_per_gpu", 1)
    if slots < 1:
        raise PoolError(
            f"slots_per_gpu of pool {pool['name']} in sks_gpu_nodes_pools is {slots}: give 1 for whole cards, or the number of deployments "
            "that share one."
        )
    return {
        "name": pool["name"],
        "instance_type": pool["instance_type"],
        "nodes": pool["size"],
        "gpu": offer.gpu,
        "gpus_per_node": offer.gpus,
        "slots_per_gpu": slots,
        "slot_mib": offer.mib // slots,
        "device_list_strategy": pool.get("device_list_strategy", "cdi-cri"),
        "eur_per_node_hour": offer.eur_per_hour,
        "eur_per_slot_hour": round(offer.eur_per_hour / offer.gpus / slots, 4),
        "node_selector": {POOL_LABEL: pool["name"]},
        "tolerations": [
            {"key": key, "operator": "Equal", "value": taint["value"], "effect": taint["effect"]}
            for key, taint in pool.get("taints", {}).items()
        ],
    }


def place(share: float, pools: list[dict]) -> Placement:
    """Choose the pool for a share of GPU: whole cards (1, 2, ...) or one slot of a sliced card (0.5, 0.25, ...).

    Raises:
        PlacementError: no pool has that share; the text says what there is.
    """
    for pool in pools:
        if share < 1 and abs(share * pool["slots_per_gpu"] - 1) < 0.01:
            return Placement(pool, 1, pool["slot_mib"])
        if share >= 1 and share == int(share) <= pool["gpus_per_node"] and pool["slots_per_gpu"] == 1:
            return Placement(pool, int(share), int(share) * pool["slot_mib"])
    offered = [
        f"pool {pool['name']} takes {describe(1 / pool['slots_per_gpu'])}"
        + (f" up to {pool['gpus_per_node']} cards" if pool["slots_per_gpu"] == 1 else "")
        for pool in pools
    ]
    text = f"no pool gives {share:g} GPU: {'; '.join(offered) or 'the platform has no GPU pool'}"
    if share > 1 and any(share <= pool["gpus_per_node"] for pool in pools):
        text += (
            ". Several cards for one deployment (tensor parallelism) and cards that several deployments share (time-slicing) exclude each "
            "other: the platform's admin gives a pool of whole cards with slots_per_gpu: 1 in sks_gpu_nodes_pools"
        )
    raise PlacementError(text)


def crowded(placements: dict[str, Placement]) -> list[str]:
    """Pools that have fewer slots than these deployments take at the same time, a sentence each.

    Args:
        placements: by the deployment's name.
    """
    found = []
    for pool in {placement.pool["name"]: placement.pool for placement in placements.values()}.values():
        mine = {host: placement.slots for host, placement in placements.items() if placement.pool["name"] == pool["name"]}
        has = pool["nodes"] * pool["gpus_per_node"] * pool["slots_per_gpu"]
        if (takes := sum(mine.values())) > has:
            nodes = f"{pool['nodes']} x {pool['instance_type']}, slots_per_gpu {pool['slots_per_gpu']}"
            found.append(
                f"{', '.join(mine)}: llm_replicas: together they take {takes} nvidia.com/gpu of pool {pool['name']}, which has {has} "
                f"({nodes}): set llm_replicas: 0 for some of them, or ask the admin for more nodes (size in sks_gpu_nodes_pools)."
            )
    return found


def describe(share: float) -> str:
    """A GPU share in words: ``1/2 card``, ``1 card``, ``2 cards``."""
    if share < 1:
        return f"1/{round(1 / share)} card"
    return "1 card" if share == 1 else f"{share:g} cards"
