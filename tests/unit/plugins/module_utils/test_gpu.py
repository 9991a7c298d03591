# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import gpu

WHOLE = {"name": "whole", "instance_type": "gpu3.medium", "size": 1}
SLICED = {"name": "sliced", "instance_type": "gpu3.small", "size": 1, "slots_per_gpu": 2}
POOLS = [gpu.pool_record(WHOLE), gpu.pool_record(SLICED)]


def test_a_pool_without_gpus_has_no_record():
    assert gpu.pool_record({"name": "default", "instance_type": "standard.large", "size": 3}) is None


def test_a_slot_is_its_part_of_the_usable_memory_and_price():
    assert POOLS[0]["slot_mib"] == 45404
    assert POOLS[1]["slot_mib"] == 22702
    assert POOLS[1]["eur_per_slot_hour"] == pytest.approx(1.0453 / 2, abs=1e-4)


def test_taints_become_tolerations():
    record = gpu.pool_record(WHOLE | {"taints": {"nodepool": {"value": "llm", "effect": "NoSchedule"}}})
    assert record["tolerations"] == [{"key": "nodepool", "operator": "Equal", "value": "llm", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("share", "pool", "slots", "mib"), [(1, "whole", 1, 45404), (2, "whole", 2, 90808), (0.5, "sliced", 1, 22702)]
)
def test_a_share_finds_its_pool(share, pool, slots, mib):
    placement = gpu.place(share, POOLS)
    assert (placement.pool["name"], placement.slots, placement.mib) == (pool, slots, mib)


@pytest.mark.parametrize("share", [0.25, 4, 1.5])
def test_a_share_that_no_pool_gives_is_refused_with_what_there_is(share):
    with pytest.raises(gpu.PlacementError, match="pool whole takes 1 card up to 2 cards; pool sliced takes 1/2 card"):
        gpu.place(share, POOLS)


def test_several_cards_and_shared_cards_exclude_each_other():
    shared = gpu.pool_record(SLICED | {"instance_type": "gpu3.medium"})
    with pytest.raises(gpu.PlacementError, match=r"tensor parallelism.*time-slicing.*slots_per_gpu: 1 in sks_gpu_nodes_pools"):
        gpu.place(2, [shared])


@pytest.mark.parametrize("slots", [0, -1])
def test_a_card_of_no_slots_is_refused(slots):
    with pytest.raises(gpu.PoolError, match=f"slots_per_gpu of pool sliced in sks_gpu_nodes_pools is {slots}: give 1"):
        gpu.pool_record(SLICED | {"slots_per_gpu": slots})


def test_no_pool_at_all_is_said():
    with pytest.raises(gpu.PlacementError, match="the platform has no GPU pool"):
        gpu.place(1, [])


def test_more_deployments_than_slots_are_refused_together():
    half, card = gpu.place(0.5, POOLS), gpu.place(1, POOLS)
    assert gpu.crowded({"a": half, "b": half, "c": card, "d": card}) == []
    (said,) = gpu.crowded({"a": half, "b": half, "c": half, "d": card})
    assert said.startswith("a, b, c: llm_replicas: together they take 3 nvidia.com/gpu of pool sliced, which has 2 (1 x gpu3.small,")
