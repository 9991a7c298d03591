# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge deployments as users describe them: find their models, read what these are made of, and say whether they fit."""

from __future__ import annotations

import difflib
import functools
import itertools
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from . import headers, hub, weights
from .errors import UserError
from .fit import llama_cpp, verdict
from .fit.model import Model
from .fit.parts import MIB
from .fit.safetensors import as_gguf
from .fit.verdict import ENGINES, Alternative, Need, Place
from .gpu import OFFERS

# Quantisations by falling size, in which the next smaller one is looked for.
QUANTS = "Q8_0 Q6_K Q5_K_M Q5_K_S Q4_K_M Q4_K_S Q4_0 IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K".split()
# What the hub answered.
Snapshots = dict[hub.Question, hub.Snapshot | hub.HubError]
# Numbers that may be 0.
ZERO = ("ngl", "margin_mib", "tensor_split")
_TRUE, _FALSE = ("true", "yes", "on", "auto", "1"), ("false", "no", "off", "0")


class Deployment(NamedTuple):
    """A deployment to be judged, as the module's documentation describes it."""

    model: str
    engine: str = "llama_cpp"
    name: str = ""
    revision: str = "main"
    options: dict = types.MappingProxyType({})
    gpu: str = "A40"
    gpus: int | None = None
    share: float | None = None
    free_mib: tuple[int, ...] = ()
    margin_mib: int | None = None
    force: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the model is a path on this machine."""
        return self.model.startswith(("/", "./", "../", "~")) or self.model.endswith(".gguf")


class Source(NamedTuple):
    """Where models come from.

    Attributes:
        endpoint, token: as in hub.Question.
        cache: directory for what was read of models.
    """

    endpoint: str
    token: str | None
    cache: str

    def question(self, one: Deployment) -> hub.Question:
        """What the hub is asked of a deployment's model."""
        return hub.Question(self.endpoint, self.token, weights.parse_model(one.model)[0], one.revision)


def judge_all(deployments: list[dict], source: Source, snapshots: Snapshots | None = None) -> list[dict]:
    """Judge deployments; what is wrong with one is told in its entry and hides no other.

    Args:
        snapshots: what the hub answered before; what it lacks is asked for.

    Returns:
        An entry for each, as the module's documentation describes it.
    """
    parsed = [_attempt(_deployment, given) for given in deployments]
    good = {_key(one): one for one in parsed if isinstance(one, Deployment)}
    questions = {source.question(one) for one in good.values() if not one.is_local}
    snapshots = (snapshots or {}) | hub.resolve_all(questions - (snapshots or {}).keys())
    with ThreadPoolExecutor(hub.THREADS) as threads:
        found = threads.map(lambda one: _attempt(_find, one, source, snapshots), good.values())
        models = dict(zip(good, found, strict=True))
    return [
        _entry(given, one, models[_key(one)] if isinstance(one, Deployment) else one, source, snapshots)
        for given, one in zip(deployments, parsed, strict=True)
    ]


def _attempt(work: Callable, *arguments: Any) -> Any:
    """What work returns, or the UserError that it raises."""
    try:
        return work(*arguments)
    except UserError as error:
        return error


def _key(one: Deployment) -> tuple:
    """What tells models apart: the same may be wanted as GGUF and as safetensors."""
    return one.model, one.revision, one.engine == "llama_cpp"


def _deployment(given: dict) -> Deployment:
    """Check what a user wrote, but for the model.

    Raises:
        UserError: it cannot be understood.
    """
    one = _typed(Deployment, given, "A deployment")
    if one.engine not in ENGINES:
        raise UserError(f"There is no engine {one.engine!r}{_nearest(one.engine, ENGINES)}.")
    if not one.is_local:
        weights.parse_model(one.model)
    _options(one)
    _place(one)
    return one


def _options(one: Deployment) -> Any:
    """The options as the engine's module takes them."""
    given = dict(one.options)
    if given.get("ngl") == "all":
        del given["ngl"]
    return _typed(ENGINES[one.engine].module.Options, given, ENGINES[one.engine].title)


def _place(one: Deployment) -> Place:
    cards = {offer.gpu: offer for offer in reversed(OFFERS.values())}
    offer = OFFERS.get(one.gpu) or cards.get(one.gpu)
    if offer is None:
        raise UserError(f"There is no GPU {one.gpu!r}{_nearest(one.gpu, [*cards, *OFFERS])}; memory can be given as free_mib, too.")
    if one.free_mib:
        return Place(offer.gpu, tuple(mib * MIB for mib in one.free_mib))
    share = one.share or 1
    gpus = one.gpus or (int(share) if share > 1 else offer.gpus if one.gpu in OFFERS and not one.share else 1)
    if share > 1 and share != gpus:
        raise UserError(f"share {share:g} is neither a part of a card nor the number of cards.")
    most = offer.gpus if one.gpu in OFFERS else max(other.gpus for other in OFFERS.values() if other.gpu == offer.gpu)
    if gpus > most:
        raise UserError(f"gpus is {gpus}, and {one.gpu} has {most} in one node at most.")
    return Place(offer.gpu, (int(offer.mib * min(share, 1)) * MIB,) * gpus, offer.mib * MIB)


def _typed(kind: Any, given: dict, owner: str) -> Any:
    """A record of what users wrote as a dictionary; what is None there has its default.

    Raises:
        UserError: a name that the record lacks, with the nearest that it has; a value of another type; a missing value.
    """
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(given) - set(hints), key=str):
        raise UserError(f"{owner} has no option {unknown[0]!r}{_nearest(str(unknown[0]), hints)}.")
    values = {name: _value(name, value, hints[name]) for name, value in given.items() if value is not None}
    if missing := [name for name in hints if name not in values and name not in kind._field_defaults]:
        raise UserError(f"{owner} lacks {missing[0]}.")
    return kind(**values)


def _value(name: str, value: Any, hint: Any) -> Any:
    """The value as the type that a record has for it; texts are understood, as templates make them of numbers."""
    alternatives = [kind for kind in typing.get_args(hint) if kind not in (types.NoneType, ...)]
    if typing.get_origin(hint) is tuple:
        listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        return tuple(_value(name, entry, alternatives[0]) for entry in listed)
    if alternatives:
        return _value(name, value, alternatives[0])
    try:
        if hint is bool and str(value).lower() in _TRUE + _FALSE:
            return str(value).lower() in _TRUE
        if hint in (int, float) and not isinstance(value, bool) and hint(value) == float(value) < 2**40:
            if float(value) > 0 or float(value) == 0 and name in ZERO:
                return hint(value)
        if hint in (str, dict) and isinstance(value, hint):
            return value
    except (TypeError, ValueError):
        pass
    words = {bool: "true or false", int: "a whole number above 0", float: "a number above 0", str: "a text", dict: "a dictionary"}
    raise UserError(f"{name} is {value!r}, and must be {words[hint]}.")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The name that was perhaps meant, and all there are, to be put behind one that is unknown."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"{f', perhaps {near[0]}' if near else ''} (there are {', '.join(known)})"


def _find(one: Deployment, source: Source, snapshots: Snapshots) -> Model:
    """Read the model of a deployment.

    Raises:
        UserError: it cannot be had or read.
    """
    if one.is_local:
        path = Path(one.model).expanduser()
        model = headers.read_local(str(path))
        to_be_made = one.engine == "llama_cpp" and path.is_dir() and not any(path.glob("*.gguf"))
        return as_gguf(model, weights.DEFAULT_QUANT) if to_be_made else model
    snapshot = snapshots[source.question(one)]
    if isinstance(snapshot, UserError):
        raise snapshot
    return _read(one, source, snapshot)


def _read(one: Deployment, source: Source, snapshot: hub.Snapshot) -> Model:
    """The model at a commit.

    Raises:
        UserError: it cannot be had or read.
    """
    chosen = weights.select(one.engine, snapshot, weights.parse_model(one.model)[1])
    model = headers.read(source.question(one), snapshot.commit, chosen.files, source.cache)
    return as_gguf(model, chosen.quant) if chosen.quant else model


def _entry(given: dict, one: Deployment | UserError, model: Model | UserError, source: Source, snapshots: Snapshots) -> dict:
    """What is returned of a deployment."""
    entry = {"name": str(given.get("name") or given.get("model", ""))}
    try:
        if isinstance(model, UserError):
            raise model
        need = Need(one.engine, model, _options(one), _place(one), None if one.margin_mib is None else one.margin_mib * MIB)
        judged = verdict.judge(need, _alternatives(one, need, source, snapshots))
        speed = verdict.tokens_per_second(need)
    except UserError as error:
        nothing = {"forced": False, "gpus": [], "quantisation": "", "tokens_per_second": None, "proposals": []}
        return entry | {"verdict": "unknown", "message": str(error)} | nothing
    placed = {"free_mib": None} if one.free_mib else {}
    return entry | {
        "verdict": judged.verdict,
        "forced": one.force and judged.verdict == "no",
        "message": verdict.sentence(need, judged),
        "gpus": [_gpu(parts, free) for parts, free in zip(judged.parts, need.place.free, strict=False)],
        "quantisation": getattr(need.options, ENGINES[one.engine].quantisation, None) or need.model.quantisation,
        "tokens_per_second": speed and round(speed, 1),
        "proposals": [
            {"what": found.what, "change": found.change | (placed if "gpus" in found.change else {}), "verdict": "fits"}
            for found in judged.proposals
        ],
    }


def _gpu(parts: verdict.Parts, free: int) -> dict:
    """A GPU's part of the result. Sums are rounded, not parts, so that the parts add up."""
    sums = itertools.pairwise(itertools.accumulate(parts, initial=0))
    shown = {name: upper // MIB - lower // MIB for name, (lower, upper) in zip(parts._fields, sums, strict=True)}
    total = parts.total // MIB
    return {
        "parts": shown,
        "total_mib": total,
        "free_mib": free // MIB,
        "left_mib": free // MIB - total,
        "bytes": parts.total - parts.margin,
    }


def _alternatives(one: Deployment, need: Need, source: Source, snapshots: Snapshots) -> Iterator[Alternative]:
    """Smaller GGUF files of the same repository, or those that could be made of it; read when they are asked for."""
    options, more, smaller = need.options, {}, QUANTS
    if one.engine != "llama_cpp":
        slots = need.option(ENGINES[one.engine].slots)
        options = llama_cpp.Options(ctx=need.option(ENGINES[one.engine].context) * slots, np=slots)
        more = {"engine": "llama_cpp", "options": {"ctx": options.ctx, "np": slots}}
        smaller = QUANTS[QUANTS.index(weights.DEFAULT_QUANT) :]
    if one.is_local:
        if more:
            made = functools.partial(as_gguf, need.model, weights.DEFAULT_QUANT)
            yield Alternative(f"llama.cpp with {weights.DEFAULT_QUANT}, made of the same files", more, "llama_cpp", options, made)
        return
    repository, quant = weights.parse_model(one.model)
    if not more and (quant or weights.DEFAULT_QUANT).upper() in QUANTS:
        smaller = QUANTS[QUANTS.index((quant or weights.DEFAULT_QUANT).upper()) + 1 :]
    snapshot = snapshots[source.question(one)]
    for name in smaller:
        other = one._replace(model=f"{repository}:{name}", engine="llama_cpp")
        chosen = _attempt(weights.select, "llama_cpp", snapshot, name)
        if isinstance(chosen, UserError) or not chosen.quant and chosen.size > sum(need.place.free):
            continue
        whence = "made of" if chosen.quant else "of"
        read = functools.partial(_read, other, source, snapshot)
        yield Alternative(f"llama.cpp with {name}, {whence} the same repository", {"model": other.model} | more, "llama_cpp", options, read)
