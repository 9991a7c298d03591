# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check what an inventory adds to an engine's command line and environment against the engine's table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from .contract import COMMON, COMMON_PREFIXES, Contract

# A token of the hub by its form, and the environment variables that Hugging Face's libraries have taken one from.
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")
TOKENS = frozenset("HF_TOKEN HF_TOKEN_PATH HF_API_TOKEN HUGGINGFACE_TOKEN HUGGING_FACE_HUB_TOKEN HUGGINGFACEHUB_API_TOKEN".split())
_NUMBER = re.compile(r"-\.?\d")


def problems(contract: Contract, arguments: Iterable[object], environment: Mapping[str, object]) -> list[str]:
    """All that is wrong with llm_extra_args and llm_extra_env, a sentence each; values, which may be secrets, are not in them."""
    words = [str(argument) for argument in arguments]
    found = [f"llm_extra_args: {sentence}" for sentence in _arguments(contract, words)]
    return found + [f"llm_extra_env: {sentence}" for name in environment for sentence in _variable(contract, name, str(environment[name]))]


def _arguments(contract: Contract, words: list[str]) -> Iterator[str]:
    if any(map(TOKEN.search, words)):
        yield _no_token("a token")
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        name, equals, _value = word.partition("=")
        if not _is_option(name):
            yield f"a value stands before the first option: {contract.title} takes options only."
            continue
        if " " in name:
            yield f"{name.split()[0]} and its value are one entry: make them two."
            continue
        wanted = contract.flags.get(name)
        if wanted is None and contract.nested and "." in name:
            wanted = contract.flags.get(name.partition(".")[0].rstrip("+"))
        given = _values(contract, words[position:], wanted)
        position += given
        if name in contract.ours or name in contract.removed or wanted is None:
            yield _refusal(contract, name, contract.flags, "option")
        elif equals and not contract.equals:
            yield f"{contract.title} takes no '=' between an option and its value: make {name} and its value two entries."
        elif equals and wanted == 0 or not equals and 0 <= wanted < given:
            yield f"{name} takes {'no value' if wanted == 0 else _count(wanted)}: remove what follows it."
        elif not equals and given < wanted:
            yield f"{name} lacks {_count(wanted)}."


def _values(contract: Contract, words: list[str], wanted: int | None) -> int:
    """How many words are an option's values: those before the next option. As many as it takes may look like options, too."""
    count = 0
    while count < len(words):
        taken = count < (wanted or 0) and words[count].partition("=")[0] not in contract.flags
        if not taken and _is_option(words[count]):
            break
        count += 1
    return count


def _is_option(word: str) -> bool:
    return word.startswith("-") and not _NUMBER.match(word)


def _count(values: int) -> str:
    return "its value" if values == 1 else f"its {values} values"


def _variable(contract: Contract, name: str, value: str) -> Iterator[str]:
    known = contract.environment | COMMON
    if name in TOKENS or TOKEN.search(value):
        yield _no_token(name)
    elif name in contract.ours or name in contract.removed or not (name in known or name.startswith(contract.prefixes + COMMON_PREFIXES)):
        yield _refusal(contract, name, known, "environment variable")


def _refusal(contract: Contract, name: str, known: Iterable[str], kind: str) -> str:
    """Why an option or a variable may not be added, and what to write instead."""
    if name in contract.ours:
        return _decided(name, contract.ours[name])
    version = f"{contract.title} {contract.version}"
    if name in contract.removed:
        instead = contract.removed[name]
        return f"{version} has no {name} any more" + (f": use {instead}." if instead else "; nothing replaces it.")
    sentence = f"{version} has no {kind} {name}"
    near = difflib.get_close_matches(name, sorted(known), 1, 0.6)
    if not near:
        return f"{sentence}."
    return f"{sentence}; did you mean {near[0]}?" + (f" {_decided(near[0], contract.ours[near[0]])}" if near[0] in contract.ours else "")


def _decided(name: str, variable: str) -> str:
    """Why what the role sets may not be added; variable decides it."""
    if variable == "llm_hf_token":
        return _no_token(name)
    if variable == "inventory_hostname":
        return f"{name} is the host's name, by which clients ask for the model: remove it."
    return f"{name} is decided by {variable}: set that instead." if variable else f"{name} is set by the role for all: remove it."


def _no_token(name: str) -> str:
    return f"{name} must not be there: the engine never needs the hub's token, only the download gets it (llm_hf_token)."
