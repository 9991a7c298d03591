# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a deployment fits where it shall run, why not, what would fit instead, and how fast it could be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import UserError
from ..gpu import OFFERS
from . import llama_cpp, shards, speed, tgi, vllm
from .model import BLOCKS, Model
from .parts import MIB, Parts
from .shards import in_words

# Contexts are proposed in steps of so many tokens, to which llama.cpp pads them.
STEP = 256


class Engine(NamedTuple):
    """What differs between engines here.

    Attributes:
        title: as its makers write it.
        module: has Options and estimate.
        context: option that holds the tokens of a request, or of all slots together for llama.cpp.
        slots: option that holds the requests at once.
        batch: option that holds the tokens computed at once.
        gpus: option that holds the GPUs that work at once; empty where they work one after another. Engines that have one
            also let requests wait for room in their cache.
        kept: what Parts.context is.
        quantisation: option that names one; empty where it is a property of the file.
    """

    title: str
    module: ModuleType
    context: str
    slots: str
    batch: str
    gpus: str = ""
    kept: str = "CUDA context"
    quantisation: str = ""


ENGINES = {
    "llama_cpp": Engine("llama.cpp", llama_cpp, "ctx", "np", "ubatch"),
    "tgi": Engine(
        "TGI", tgi, "max_total_tokens", "max_concurrent_requests", "max_batch_prefill_tokens", "num_shard", "kept free by TGI", "quantize"
    ),
    "vllm": Engine(
        "vLLM", vllm, "max_model_len", "max_num_seqs", "max_num_batched_tokens", "tensor_parallel_size", "kept free by vLLM", "quantization"
    ),
}


class Place(NamedTuple):
    """Where a deployment runs.

    Attributes:
        gpu: name of the cards.
        free: bytes that the deployment has of each.
        card: bytes of a whole card; 0 where what is free of each is taken for all there is.
    """

    gpu: str
    free: tuple[int, ...]
    card: int = 0


class Need(NamedTuple):
    """A deployment to be judged.

    Attributes:
        engine: a key of ENGINES.
        options: the Options of the engine's module.
        margin: bytes of margin on each GPU; None for the engine's own.
    """

    engine: str
    model: Model
    options: Any
    place: Place
    margin: int | None = None

    def with_options(self, **options: Any) -> Need:
        """The same with other options."""
        return self._replace(options=self.options._replace(**options))

    def option(self, name: str) -> Any:
        """The value of an option that has a number, or what the engine takes in its place."""
        engine = ENGINES[self.engine]
        default = {
            engine.slots: 1,
            engine.context: self.model.context,
            "max_batch_prefill_tokens": tgi.prefill_tokens(self.model, len(self.place.free)),
            "max_num_batched_tokens": vllm.BATCHED_TOKENS,
        }
        return getattr(self.options, name) or default[name]


class Alternative(NamedTuple):
    """Another form of the model that the caller knows of.

    Attributes:
        what: in words.
        change: of the deployment, to have it.
        engine: a key of ENGINES.
        options: as in Need.
        model: reads it; raises UserError where that fails.
    """

    what: str
    change: dict
    engine: str
    options: Any
    model: Callable[[], Model]


class Proposal(NamedTuple):
    """What fits instead: in words, as a change of the deployment, and as what was judged to fit."""

    what: str
    change: dict
    need: Need


class Verdict(NamedTuple):
    """The judgement.

    Attributes:
        verdict: ``fits``, ``tight`` (it fits by a rule alone) or ``no``.
        parts: of each GPU; of as many requests as fit where that is the rule. Empty where the engine refuses the options.
        rule: why it is tight, what the engine refuses, or what else there is to know; may be empty.
        proposals: what fits; empty where the deployment does.
    """

    verdict: str
    parts: tuple[Parts, ...]
    rule: str = ""
    proposals: tuple[Proposal, ...] = ()


def parts_of(need: Need) -> tuple[Parts, ...]:
    """Bytes on each GPU.

    Raises:
        Refusal: the engine would not start.
        UserError: an option has a value that the engine does not know.
    """
    engine = ENGINES[need.engine]
    parts = engine.module.estimate(need.model, need.options, need.place.free, *([need.place.card] if engine.gpus else []))
    if need.margin is None:
        return parts
    return tuple(part._replace(margin=need.margin) if part.total else part for part in parts)


def fits(need: Need) -> bool:
    """Whether each GPU has room for its parts, margin included; arguments and errors as for parts_of, but a Refusal is no."""
    try:
        return all(part.total <= free for part, free in zip(parts_of(need), need.place.free, strict=True))
    except shards.Refusal:
        return False


def judge(need: Need, alternatives: Iterable[Alternative] = ()) -> Verdict:
    """Judge a deployment, and look for what fits instead where it does not.

    Args:
        alternatives: in the order in which they are tried, the best first. The first one that fits is proposed.

    Raises:
        UserError: an option has a value that the engine does not know.
    """
    if fits(need):
        return Verdict("fits", parts_of(need))
    engine = ENGINES[need.engine]
    proposals = tuple(_proposals(need, alternatives))
    shared = ""
    if need.engine == "tgi" and need.place.free[0] < need.place.card:
        shared = f"On a shared card TGI's cache is only what its warm-up made room for, which {engine.batch} decides"
    if requests := _requests(need):
        fewer = need.with_options(**{engine.slots: requests})
        rule = f"the cache has room for {requests} of {need.option(engine.slots)} requests of full length at once; others wait"
        return Verdict("tight", parts_of(fewer), f"{rule}. {shared}" if shared else rule, proposals)
    try:
        parts = parts_of(need)
    except shards.Refusal as refusal:
        return Verdict("no", (), str(refusal), proposals)
    least = need.with_options(**{engine.slots: 1}) if engine.gpus else need
    if fits(least._replace(margin=0)):
        margin = parts_of(least)[0].margin
        covers = shards.margin(engine.module.MARGIN, len(parts)) if engine.gpus else {}
        unmeasured = f" for what was never measured ({', '.join(covers)})" if covers else ""
        rule = f"not all of the margin of {in_words(margin)}{unmeasured} is left"
        return Verdict("tight", parts_of(least), rule, proposals)
    return Verdict("no", parts, shared, proposals)


def sentence(need: Need, verdict: Verdict) -> str:
    """The verdict with its arithmetic."""
    if not verdict.parts:
        return verdict.rule
    engine, parts, free = ENGINES[need.engine], verdict.parts, need.place.free
    titles = Parts("weights", "keys and values", "buffers", engine.kept, "margin")
    terms = [f"{in_words(sum(sizes))} {title}" for title, sizes in zip(titles, zip(*parts, strict=True), strict=True) if sum(sizes)]
    lefts = [room - part.total for room, part in zip(free, parts, strict=True)]
    left = min(lefts)
    cards, where = (f"{len(free)} x {need.place.gpu}", f"on GPU {lefts.index(left)} ") if len(free) > 1 else (f"one {need.place.gpu}", "")
    words = {"fits": "Fits", "tight": "Fits tightly", "no": "Does not fit"}[verdict.verdict]
    of_layers = need.engine == "llama_cpp" and need.options.ngl is not None and need.options.ngl <= need.model.layers
    return (
        f"{words}: {' + '.join(terms)} = {in_words(sum(part.total for part in parts))} of {in_words(sum(free))} on {cards}; "
        f"{where}{in_words(abs(left))} {'are left' if left >= 0 else 'are lacking'}."
        + (f" {verdict.rule[0].upper()}{verdict.rule[1:]}." if verdict.rule else "")
        + (f" Only {need.options.ngl} of {need.model.layers + 1} layers are on the GPU; the CPU computes the others." if of_layers else "")
    )


def tokens_per_second(need: Need) -> float | None:
    """What memory bandwidth allows one request with half its context filled; None for an unknown card, or where the CPU takes part."""
    engine, options = ENGINES[need.engine], need.options
    context, at_once = need.option(engine.context), 1
    if need.engine == "llama_cpp":
        if options.ngl is not None and options.ngl <= need.model.layers:
            return None
        context //= 1 if options.kv_unified else options.np
        key, value = (size / weights for size, weights in (BLOCKS[kind.upper()] for kind in (options.ctk, options.ctv)))
        size = speed.read_weights(need.model, lambda tensor: tensor.size)
    else:
        key = value = vllm.CACHE.get(getattr(options, "kv_cache_dtype", "auto"), 2)
        quantisation = engine.module.ON_LOAD.get(getattr(options, engine.quantisation))
        size = speed.read_weights(need.model, lambda tensor: shards.held(tensor, quantisation))
        at_once = getattr(options, engine.gpus) or len(need.place.free)
    return speed.bound(need.place.gpu, size + speed.read_cache(need.model, context / 2, key, value), at_once)


def _largest(most: int, good: Callable[[int], bool]) -> int:
    """The largest number up to most that is good, where all below are as well; 0 where none is."""
    low, high = 0, max(most, 0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    return low


def _most(need: Need, option: str, step: int) -> int:
    """The largest multiple of a step, smaller than the option's value, with which it fits; 0 where there is none."""
    steps = math.ceil(need.option(option) / step) - 1
    return step * _largest(steps, lambda number: fits(need.with_options(**{option: number * step})))


def _requests(need: Need) -> int:
    """Fewer requests at once that fit, of an engine that lets the others wait; 0 where not even one fits."""
    engine = ENGINES[need.engine]
    if not engine.gpus:
        return 0
    return _largest(need.option(engine.slots) - 1, lambda number: fits(need.with_options(**{engine.slots: number})))


def _proposals(need: Need, alternatives: Iterable[Alternative]) -> Iterator[Proposal]:
    engine = ENGINES[need.engine]

    def changed(what: str, **options: Any) -> Proposal:
        return Proposal(what, {"options": options}, need.with_options(**options))

    if own := _of_the_place(need):
        released = changed(f"{' and '.join(own)} as the place gives", **own)
        if fits(released.need):
            yield released
    slots = need.option(engine.slots)
    together = need.engine == "llama_cpp" and slots > 1
    context = _most(need, engine.context, STEP * (slots if together and not need.options.kv_unified else 1))
    if context:
        yield changed(f"the largest context here, {context} tokens{' of all slots' if together else ''}", **{engine.context: context})
    if batch := _most(need, engine.batch, STEP):
        yield changed(f"{batch} tokens computed at once", **{engine.batch: batch})
    if requests := _requests(need):
        yield changed(f"{requests} of {slots} requests of full length at once", **{engine.slots: requests})
    if engine.quantisation and not getattr(need.options, engine.quantisation):
        for name in engine.module.ON_LOAD:
            loaded = changed(f"quantised by {engine.title} while loading ({name})", **{engine.quantisation: name})
            if fits(loaded.need):
                yield loaded
                break
        published = changed("another repository with the same model in 4 bits (AWQ or GPTQ)", **{engine.quantisation: "awq"})
        published = published._replace(need=published.need._replace(model=shards.four_bits(need.model)))
        if fits(published.need):
            yield published
    for alternative in alternatives:
        try:
            other = need._replace(engine=alternative.engine, options=alternative.options, model=alternative.model())
        except UserError:  # it cannot be read, so that nothing can be said of it
            continue
        if fits(other):
            yield Proposal(alternative.what, alternative.change, other)
            break
    yield from _larger_places(need)
    if need.engine == "llama_cpp":
        layers = need.options.ngl if need.options.ngl is not None else need.model.layers + 1
        if on_gpu := _largest(min(layers, need.model.layers + 1) - 1, lambda number: fits(need.with_options(ngl=number))):
            yield changed(
                f"{on_gpu} of {need.model.layers + 1} layers on the GPU, and the others computed by the CPU, many times slower", ngl=on_gpu
            )


def _of_the_place(need: Need) -> dict:
    """The defaults of those options that were set for one place."""
    defaults = type(need.options)()
    names = ("tensor_split", "cuda_memory_fraction", "gpu_memory_utilization")
    return {name: getattr(defaults, name) for name in names if getattr(need.options, name, None)}


def _larger_places(need: Need) -> Iterator[Proposal]:
    """The cheapest larger node on which it fits."""
    engine = ENGINES[need.engine]
    for name, offer in sorted(OFFERS.items(), key=lambda item: item[1].eur_per_hour):
        place = Place(offer.gpu, (offer.mib * MIB,) * offer.gpus, offer.mib * MIB)
        if sum(place.free) <= sum(need.place.free):
            continue
        options = _of_the_place(need) | ({engine.gpus: offer.gpus} if engine.gpus else {})
        larger = need._replace(place=place).with_options(**options)
        if fits(larger):
            change = {"gpu": name, "gpus": offer.gpus, "share": 1} | ({"options": options} if options else {})
            yield Proposal(f"{offer.gpus} x {offer.gpu} ({name}, {offer.eur_per_hour:.2f} EUR an hour)", change, larger)
            return
