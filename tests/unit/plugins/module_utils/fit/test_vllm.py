# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import shards, vllm

CARD = 45404 * shards.MIB


def test_weights_and_cache(models):
    (parts,) = vllm.estimate(models["8B"], vllm.Options(8192, 4), (CARD,))
    assert parts.weights == models["8B"].size and parts.kv == 4 * 8192 * 128 * 1024
    (eighth,) = vllm.estimate(models["8B"], vllm.Options(8192, 4, kv_cache_dtype="fp8"), (CARD,))
    assert eighth.kv == parts.kv / 2
    (tied,) = vllm.estimate(models["1B"], vllm.Options(8192), (CARD,))
    assert tied.weights == models["1B"].size
    (quantised,) = vllm.estimate(models["8B"], vllm.Options(8192, quantization="fp8_per_tensor"), (CARD,))
    assert 0.5 < quantised.weights / parts.weights < 0.6


def test_a_sliding_layer_keeps_its_window_and_a_step(models):
    model = models["9B"]
    cell = 2 * 8 * 256 * 2
    assert vllm._cache(model, 8192, 2048, 1, 2) == cell * (21 * 8192 + 21 * (6144 + 16))
    assert vllm._cache(model, 4096, 2048, 1, 2) == cell * 42 * 4096


def test_keys_and_values_are_cut_by_head(models):
    eight = vllm.estimate(models["30B-A3B"], vllm.Options(8192), (CARD,) * 8)
    four = vllm.estimate(models["30B-A3B"], vllm.Options(8192), (CARD,) * 4)
    assert eight[0].kv == four[0].kv  # there are 4 heads
    assert eight[0].weights > four[0].weights / 2


def test_it_takes_its_fraction_of_the_card(models):
    assert vllm.estimate(models["8B"], vllm.Options(8192), (CARD,))[0].context == pytest.approx(0.08 * CARD, abs=2)
    assert vllm.estimate(models["8B"], vllm.Options(8192), (CARD // 2,), CARD)[0].context == pytest.approx(0.04 * CARD, abs=2)
    (told,) = vllm.estimate(models["8B"], vllm.Options(8192, gpu_memory_utilization=0.4), (CARD // 2,), CARD)
    assert told.context == pytest.approx(0.1 * CARD, abs=2)


@pytest.mark.parametrize(
    ("options", "gpus", "sentence"),
    [
        ({"gpu_memory_utilization": 0.92}, 0.5, "gpu_memory_utilization 0.92 is 40.8 GiB of the card, .* has 22.2 GiB: set it to 0.46"),
        ({"tensor_parallel_size": 4}, 2, r"vLLM wants 4 GPUs \(tensor_parallel_size\), and has 2"),
        ({}, 6, "cannot share 32 attention heads"),
        ({"quantization": "bitsandbytes"}, 1, "vLLM has no quantisation 'bitsandbytes': set quantization to one of auto_awq, auto_gptq"),
        ({"quantization": "fp8_per_channel"}, 1, "vLLM has no quantisation 'fp8_per_channel'"),
        ({"quantization": "gptq_marlin"}, 1, "quantization is gptq_marlin, and the weights are not quantised"),
        ({"kv_cache_dtype": "q8_0"}, 1, "'q8_0' is not planned for: set it to one of auto"),
    ],
)
def test_what_vllm_refuses(models, options, gpus, sentence):
    free = (CARD,) * gpus if gpus >= 1 else (CARD // 2,)
    with pytest.raises(shards.Refusal, match=sentence):
        vllm.estimate(models["8B"], vllm.Options(8192, **options), free, CARD)


def test_a_context_beyond_the_models_is_refused(models):
    model = models["8B"]._replace(context=8192)
    assert vllm.estimate(model, vllm.Options(8192), (CARD,))
    with pytest.raises(shards.Refusal, match="does not start with max_model_len 8193, .* 8192 tokens: set it to 8192 at most"):
        vllm.estimate(model, vllm.Options(8193), (CARD,))


def test_the_margin_has_names(models):
    assert vllm.estimate(models["8B"], vllm.Options(8192), (CARD,))[0].margin == sum(vllm.MARGIN.values())


@pytest.mark.parametrize(
    ("published", "quantization"), [("awq", None), ("awq", "awq_marlin"), ("gptq", "auto_gptq"), ("fp8", "fp8"), ("mxfp4", None)]
)
def test_weights_that_are_quantised_already(models, published, quantization):
    model = models["8B"]._replace(quantisation=published)
    assert vllm.estimate(model, vllm.Options(8192, quantization=quantization), (CARD,))
    with pytest.raises(shards.Refusal, match=f"quantization is fp8_per_block, and the weights are quantised as {published} already"):
        vllm.estimate(model, vllm.Options(8192, quantization="fp8_per_block"), (CARD,))
    with pytest.raises(shards.Refusal, match="quantised as exl2, which vLLM does not read"):
        vllm.estimate(model._replace(quantisation="exl2"), vllm.Options(8192, quantization=quantization), (CARD,))
