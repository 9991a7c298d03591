# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.fit import llama_cpp, tgi, verdict, vllm
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.shards import MIB
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.verdict import Alternative, Need, Place

CARD = 45404 * MIB
OPTIONS = {"llama_cpp": llama_cpp.Options, "tgi": tgi.Options, "vllm": vllm.Options}


def place(gpus=1, share=1.0):
    return Place("A40", (int(CARD * share),) * gpus, CARD)


def words(judged):
    return " | ".join(proposal.what for proposal in judged.proposals)


def test_70b_on_two_cards_does_not_fit_and_what_would(models, quantised):
    need = Need("tgi", models["70B"], tgi.Options(8192, 4), place(2))
    smaller = Alternative("llama.cpp with Q4_K_M", {}, "llama_cpp", llama_cpp.Options(ctx=32768, np=4), lambda: quantised("70B", "Q4_K_M"))
    start = time.monotonic()
    judged = verdict.judge(need, [smaller])
    assert time.monotonic() - start < 3
    assert judged.verdict == "no"
    said = verdict.sentence(need, judged)
    assert said.startswith("Does not fit: 131.4 GiB weights + 10.0 GiB keys and values + ") and " of 88.7 GiB on 2 x A40; on GPU 0 " in said
    assert "4 x A40 (gpu3.large" in words(judged) and "llama.cpp with Q4_K_M" in words(judged)
    assert "another repository with the same model in 4 bits (AWQ or GPTQ)" in words(judged)
    (larger,) = [proposal for proposal in judged.proposals if "gpus" in proposal.change]
    assert larger.change == {"gpu": "gpu3.large", "gpus": 4, "share": 1, "options": {"num_shard": 4}}


def test_8b_fits_one_card_on_each_engine(models, quantised):
    for need in (
        Need("tgi", models["8B"], tgi.Options(8192, 4, 8192), place()),
        Need("tgi", models["8B"], tgi.Options(), place()),
        Need("vllm", models["8B"], vllm.Options(8192, 4), place()),
        Need("llama_cpp", quantised("8B", "Q4_0"), llama_cpp.Options(ctx=32768, np=4), place()),
    ):
        judged = verdict.judge(need)
        assert (judged.verdict, judged.rule, judged.proposals) == ("fits", "", ())
        assert "are left." in verdict.sentence(need, judged)


def test_fewer_requests_than_asked_is_tight(models):
    need = Need("vllm", models["8B"], vllm.Options(131072, 4), place())
    judged = verdict.judge(need)
    assert judged.verdict == "tight" and "room for 1 of 4 requests of full length" in judged.rule
    assert judged.parts == verdict.parts_of(need.with_options(max_num_seqs=1))
    assert "1 of 4 requests" in words(judged) and "the largest context here, " in words(judged)


def test_tgi_on_a_shared_card_says_what_its_cache_is_for(models):
    judged = verdict.judge(Need("tgi", models["1B"], tgi.Options(8192, 4, 8192), place(share=0.5)))
    assert judged.verdict == "tight" and "2 of 4 requests" in judged.rule and "warm-up" in judged.rule


def test_what_only_the_margin_lacks_is_tight_and_names_it(models):
    (parts,) = verdict.parts_of(Need("tgi", models["8B"], tgi.Options(8192), place()))
    free = (parts.weights + parts.kv + parts.compute + parts.margin // 2) * 10 // 9  # a tenth of which TGI keeps free
    need = Need("tgi", models["8B"], tgi.Options(8192), Place("A40", (free,), free))
    judged = verdict.judge(need)
    assert judged.verdict == "tight" and "CUDA context" in judged.rule and "NCCL" not in judged.rule
    assert verdict.judge(need._replace(margin=0)).verdict == "fits"
    assert verdict.judge(need._replace(margin=20 * 2**30)).verdict == "tight"


def test_what_the_engine_refuses_is_no_with_its_sentence(models):
    need = Need("vllm", models["1B"], vllm.Options(8192, gpu_memory_utilization=0.92), place(share=0.5))
    judged = verdict.judge(need)
    assert (judged.verdict, judged.parts) == ("no", ()) and verdict.sentence(need, judged) == judged.rule
    assert judged.proposals[0].change == {"options": {"gpu_memory_utilization": None}}


def test_layers_on_the_cpu_are_never_passed_over(quantised):
    need = Need("llama_cpp", quantised("70B", "Q4_K_M"), llama_cpp.Options(), place(share=0.5))
    judged = verdict.judge(need)
    (offloaded,) = [proposal for proposal in judged.proposals if "ngl" in str(proposal.change)]
    assert "computed by the CPU, many times slower" in offloaded.what
    assert "the CPU computes the others" in verdict.sentence(offloaded.need, verdict.judge(offloaded.need))
    assert verdict.tokens_per_second(offloaded.need) is None


def test_a_smaller_form_that_cannot_be_read_is_passed_over(quantised):
    def damaged():
        raise UserError("damaged")

    need = Need("llama_cpp", quantised("70B", "Q8_0"), llama_cpp.Options(), place())
    forms = [damaged, lambda: quantised("70B", "Q4_K_M"), lambda: quantised("70B", "Q3_K_M")]
    judged = verdict.judge(need, [Alternative(str(number), {}, "llama_cpp", need.options, form) for number, form in enumerate(forms)])
    assert [proposal.what for proposal in judged.proposals if not proposal.change] == ["1"]


def test_the_bound_of_each_engine(models, quantised):
    def bound(engine, model, options, gpus=1):
        return verdict.tokens_per_second(Need(engine, model, options, place(gpus)))

    cache = 4096 * 128 * 1024
    read = models["8B"].size - 2 * 4096 * 128256
    assert bound("tgi", models["8B"], tgi.Options(8192)) == pytest.approx(696e9 / (read + cache))
    assert bound("tgi", models["8B"], tgi.Options(8192), 2) == pytest.approx(2 * 696e9 / (read + cache))
    assert bound("vllm", models["8B"], vllm.Options(8192, kv_cache_dtype="fp8")) == pytest.approx(696e9 / (read + cache / 2))
    model = quantised("8B", "Q8_0")
    read = sum(tensor.size for tensor in model.tensors if tensor.name != "token_embd.weight")
    for options, gpus in (({"ctx": 8192}, 1), ({"ctx": 32768, "np": 4}, 2), ({"ctx": 8192, "np": 4, "kv_unified": True}, 1)):
        assert bound("llama_cpp", model, llama_cpp.Options(**options), gpus) == pytest.approx(696e9 / (read + cache))
    quarter = llama_cpp.Options(ctx=8192, ctk="q8_0", ctv="q8_0")
    assert bound("llama_cpp", model, quarter) == pytest.approx(696e9 / (read + cache * 17 / 32))


def needs(models, quantised, count, seed):
    """Deployments of every sort, by chance."""
    chance = random.Random(seed)
    for _ in range(count):
        engine, name = chance.choice(list(OPTIONS)), chance.choice(list(models))
        context, slots = chance.randint(300, 140000), chance.randint(1, 16)
        options = {verdict.ENGINES[engine].context: context, verdict.ENGINES[engine].slots: slots}
        if engine == "llama_cpp":
            options |= {"kv_unified": chance.random() < 0.5, "ctk": chance.choice(["f16", "q8_0"])}
            model = quantised(name, chance.choice(["Q4_K_M", "Q8_0", "F16"]))
        else:
            model = models[name]
            if chance.random() < 0.5:
                options[verdict.ENGINES[engine].batch] = chance.choice([512, 2048, 8192])
        gpus, share = chance.choice([(1, 1), (1, 0.5), (1, 0.25), (2, 1), (4, 1)])
        yield Need(engine, model, OPTIONS[engine](**options), place(gpus, share), chance.choice([None, None, 0, 500 * MIB]))


def test_each_proposal_fits(models, quantised):
    verdicts = set()
    for need in needs(models, quantised, 150, 7):
        judged = verdict.judge(need)
        verdicts.add(judged.verdict)
        assert all(verdict.judge(proposal.need).verdict == "fits" for proposal in judged.proposals), need.options
        assert not (judged.verdict == "fits" and judged.proposals)
        for proposal in judged.proposals:
            same = proposal.need.model is need.model and "gpus" not in proposal.change
            assert not same or need.with_options(**proposal.change["options"]) == proposal.need
    assert verdicts == {"fits", "tight", "no"}


def test_parts_add_up_and_more_never_needs_less(models, quantised):
    rank = ["fits", "tight", "no"]
    for need in needs(models, quantised, 30, 11):
        need = need._replace(model=need.model._replace(context=1 << 20))  # vLLM takes no context beyond the model's
        engine = verdict.ENGINES[need.engine]
        for option in (engine.context, engine.slots):
            steps = []
            for number in range(1, 5):
                more = {option: need.option(option) * number}
                if option == engine.slots and need.engine == "llama_cpp":  # whose context is that of all slots
                    more["ctx"] = need.options.ctx * number
                steps.append(need.with_options(**more))
            parts = [verdict.parts_of(step) for step in steps]
            totals = [sum(part.total for part in each) for each in parts]
            assert totals == sorted(totals) and all(part.total == sum(part) and min(part) >= 0 for each in parts for part in each)
            ranks = [rank.index(verdict.judge(step).verdict) for step in steps]
            assert ranks == sorted(ranks)
