# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import speed


def test_a_token_takes_all_weights_but_the_embedding(models):
    model = models["8B"]
    assert speed.read_weights(model, lambda tensor: tensor.size) == model.size - 2 * 4096 * 128256
    assert speed.read_weights(models["1B"], lambda tensor: tensor.size) == models["1B"].size  # the embedding is the output


def test_a_token_takes_the_experts_it_uses(models):
    model = models["30B-A3B"]
    experts = sum(tensor.size for tensor in model.tensors if "_exps" in tensor.name)
    others = model.size - experts - 2 * 2048 * 151936
    assert speed.read_weights(model, lambda tensor: tensor.size) == others + experts / 16
    assert 2.9e9 < (others + experts / 16) / 2 < 3.4e9  # "A3B": 3.3 billion, with the embedding


def test_the_cache_is_read_as_far_as_a_layer_sees(models):
    assert speed.read_cache(models["8B"], 1000, 2, 2) == 1000 * 128 * 1024
    assert speed.read_cache(models["9B"], 8000, 2, 1) == 8 * 256 * 3 * 21 * (8000 + 4096)


def test_the_bound_follows_the_bandwidth():
    assert speed.bound("A40", 6.96e9) == pytest.approx(100)
    assert speed.bound("A40", 6.96e9, 2) == pytest.approx(200)
    assert speed.bound("B9000", 1e9) is None
