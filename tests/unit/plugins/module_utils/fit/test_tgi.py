# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import shards, tgi

CARD = 45404 * shards.MIB


def test_weights_are_held_in_16_bits_and_shared(models):
    (one,) = tgi.estimate(models["8B"], tgi.Options(8192), (CARD,))
    assert one.weights == models["8B"].size == 16060522496  # model.safetensors.index.json: total_size
    two = tgi.estimate(models["8B"], tgi.Options(8192), (CARD, CARD))
    vectors = 65 * 4096 * 2
    assert [parts.weights for parts in two] == [(one.weights - vectors) // 2 + vectors] * 2
    wide = models["8B"]._replace(tensors=tuple(tensor._replace(kind="F32") for tensor in models["8B"].tensors))
    assert tgi.estimate(wide, tgi.Options(8192), (CARD,)) == (one,)


def test_a_tied_output_is_a_copy(models):
    (parts,) = tgi.estimate(models["1B"], tgi.Options(8192), (CARD,))
    assert parts.weights == models["1B"].size + 2 * 2048 * 128256


def test_the_cache_has_room_for_the_requests(models):
    (parts,) = tgi.estimate(models["8B"], tgi.Options(8192, 4), (CARD,))
    assert parts.kv == 4 * 8191 * 128 * 1024  # 128 KiB for a token, and none for a request's last
    (one,) = tgi.estimate(models["8B"], tgi.Options(8192), (CARD,))
    assert one.kv == 8192 * 128 * 1024  # which max_total_tokens must not exceed all the same
    (sharded, _) = tgi.estimate(models["8B"], tgi.Options(8192, 4), (CARD, CARD))
    assert 2 * sharded.kv == parts.kv


def test_a_tenth_of_the_card_is_kept_free(models):
    (parts,) = tgi.estimate(models["8B"], tgi.Options(8192), (CARD,))
    assert parts.context == pytest.approx(CARD / 10, abs=2)
    uneven = tgi.estimate(models["8B"], tgi.Options(8192, 4), (CARD, CARD // 2))
    assert [parts.context for parts in uneven] == pytest.approx([CARD / 10, CARD / 20], abs=2)
    (half,) = tgi.estimate(models["8B"], tgi.Options(8192), (CARD // 2,), CARD)
    assert half.context == pytest.approx(CARD / 20, abs=2)
    (told,) = tgi.estimate(models["8B"], tgi.Options(8192, cuda_memory_fraction=0.5), (CARD,))
    assert told.context == pytest.approx(CARD * 0.55, abs=2)


def test_on_a_shared_card_there_is_room_for_the_warm_up_alone(models):
    def free(requests, prefill):
        (parts,) = tgi.estimate(models["1B"], tgi.Options(4096, requests, prefill), (CARD // 2,), CARD)
        return CARD // 2 - parts.total

    assert free(2, 8190) > 0 > free(3, 8190)
    assert free(3, 8191) > 0


def test_what_the_launcher_chooses_to_prefill(models):
    # (3 x 32 + 2 x 8) heads and three matrices of 14336, 2 operations each, in 32 layers: 15 GFLOP for a token
    assert tgi.prefill_tokens(models["8B"], 1) == int(149e12 / (32 * (2 * 128 * 4096 * 112 + 6 * 4096 * 14336))) == 9911
    assert tgi.prefill_tokens(models["1B"], 4) == models["1B"].context


def test_more_prefill_takes_more_buffers(models):
    small, large = (tgi.estimate(models["8B"], tgi.Options(8192, 1, tokens), (CARD,))[0].compute for tokens in (2048, 4096))
    assert large - small == 2 * 2048 * (4 * 14336 + 3 * 4096 + 128256)


@pytest.mark.parametrize(("quantize", "bits"), [("eetq", 8), ("fp8", 8), ("bitsandbytes-nf4", 4.25)])
def test_what_is_quantised_while_loading(models, quantize, bits):
    (parts,) = tgi.estimate(models["8B"], tgi.Options(8192, quantize=quantize), (CARD,))
    matrices = sum(tensor.weights for tensor in models["8B"].tensors if shards.is_matrix(tensor))
    assert parts.weights == models["8B"].size - matrices * (16 - bits) / 8


def test_what_is_in_the_file_stays_as_it_is(models):
    kept = tuple(tensor._replace(kind="I32") if "ffn" in tensor.name else tensor for tensor in models["8B"].tensors)
    (parts,) = tgi.estimate(models["8B"]._replace(tensors=kept), tgi.Options(8192, quantize="gptq"), (CARD,))
    assert parts.weights == sum(tensor.size for tensor in kept)


def test_experts_are_shared_and_their_router_is_not(models):
    (one,) = tgi.estimate(models["30B-A3B"], tgi.Options(8192), (CARD * 2,))
    four = tgi.estimate(models["30B-A3B"], tgi.Options(8192), (CARD,) * 4)
    replicated = 48 * 128 * 2048 * 2 + 97 * 2048 * 2 + 96 * 128 * 2
    assert four[0].weights == (one.weights - replicated) / 4 + replicated


def test_gpus_beyond_num_shard_are_left_alone(models):
    parts = tgi.estimate(models["8B"], tgi.Options(8192, num_shard=1), (CARD, CARD))
    assert parts[0].total and not parts[1].total


@pytest.mark.parametrize(
    ("options", "gpus", "sentence"),
    [
        ({"num_shard": 2}, 1, r"TGI wants 2 GPUs \(num_shard\), and has 1"),
        ({}, 3, "cannot share 32 attention heads"),
        ({"quantize": "q4"}, 1, "no quantisation 'q4': set quantize to one of awq, bitsandbytes"),
        ({"quantize": "awq"}, 1, "quantize is awq, and the weights are not quantised: choose a repository where they are. TGI makes eetq"),
        ({"cuda_memory_fraction": 1.0}, 0.5, "is 44.3 GiB of the card, and the deployment has 22.2 GiB: set it to 0.5"),
    ],
)
def test_what_tgi_refuses(models, options, gpus, sentence):
    free = (CARD,) * gpus if gpus >= 1 else (CARD // 2,)
    with pytest.raises(shards.Refusal, match=sentence):
        tgi.estimate(models["8B"], tgi.Options(8192, **options), free, CARD)


def test_the_margin_has_names(models):
    assert tgi.estimate(models["8B"], tgi.Options(8192), (CARD,))[0].margin == sum(tgi.MARGIN.values())
    assert tgi.estimate(models["8B"], tgi.Options(8192), (CARD,) * 2)[0].margin == sum((tgi.MARGIN | shards.NCCL).values())


@pytest.mark.parametrize(
    ("published", "quantize", "gpus", "sentence"),
    [
        ("awq", "eetq", 1, "quantize is eetq, and the weights are quantised as awq already: remove it, or set it to awq"),
        ("gptq", "awq", 1, "quantize is awq, and the weights are quantised as gptq already: remove it, or set it to gptq"),
        ("mxfp4", None, 1, "The weights are quantised as mxfp4, which TGI does not read: choose another repository"),
        ("marlin", None, 1, "which TGI must be told: set quantize to marlin"),
        ("exl2", None, 2, "TGI does not share a model quantised as exl2 between 2 GPUs"),
    ],
)
def test_weights_that_are_quantised_already(models, published, quantize, gpus, sentence):
    with pytest.raises(shards.Refusal, match=sentence):
        tgi.estimate(models["8B"]._replace(quantisation=published), tgi.Options(8192, quantize=quantize), (CARD,) * gpus)


@pytest.mark.parametrize(
    ("published", "quantize"), [("awq", None), ("awq", "gptq"), ("fbgemm_fp8", "fp8"), ("marlin", "marlin"), ("exl2", "exl2")]
)
def test_weights_that_are_quantised_as_they_should_be(models, published, quantize):
    assert tgi.estimate(models["8B"]._replace(quantisation=published), tgi.Options(8192, quantize=quantize), (CARD,))
