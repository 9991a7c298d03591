# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what the memory of a model depends on from the headers of its files: on this machine, or on the hub by parts of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from . import hub
from .files import write_atomically
from .fit import gguf, safetensors
from .fit.model import BLOCKS, Model, ModelError, Tensor

# Of what is in a cached file; another is read anew.
VERSION = 2
CONFIG = "config.json"

# The bytes of a file: path, first byte, number of bytes.
Read = Callable[[str, int, int], bytes]


def read(question: hub.Question, commit: str, files: Sequence[hub.File], cache: str) -> Model:
    """The model of a repository's files: all parts of one GGUF file in their order, or safetensors with config.json.

    Args:
        commit: what the question's revision stands for.
        files: others among them, such as a tokenizer's, are not read.
        cache: directory for what was read, which may not exist yet; nothing in it is a secret.

    Raises:
        HubError: they cannot be read.
        ModelError: they make no model that can be planned with; the sentence names the file.
    """
    wanted = [file for file in files if file.path.lower().endswith((".gguf", ".safetensors")) or file.path == CONFIG]
    key = [VERSION, question.repo, commit, sorted([file.path, file.size, file.sha256 or file.git_sha1] for file in wanted)]
    place = os.path.join(cache, f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json")
    if model := _cached(place, key):
        return model

    def part(path: str, first: int, count: int) -> bytes:
        return hub.read_range(question, commit, path, first, count) if count else b""

    try:
        model = _model({file.path: file.size for file in wanted}, part)
    except ModelError as error:
        raise ModelError(f"{question.repo}: {error}") from None
    try:
        write_atomically(place, json.dumps({"key": key, "model": model}, separators=(",", ":")), 0o600)
    except OSError:
        pass  # a full or read-only disk costs time at the next run, and nothing else
    return model


def read_local(path: str) -> Model:
    """The model of a GGUF file (the first part of a split one stands for all), or of a directory of safetensors files.

    Raises:
        ModelError: there is none that can be planned with; the sentence names the file.
    """
    if os.path.isdir(path):
        # Mistral's own layout would be the same weights again.
        usual = [name for name in os.listdir(path) if not name.startswith("consolidated")]
        paths = [os.path.join(path, name) for name in usual if name.endswith(".safetensors") or name == CONFIG]
    else:
        split = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})(\.gguf)", path, re.IGNORECASE)
        paths = [f"{split[1]}-{number + 1:05}-of-{split[2]}{split[3]}" for number in range(int(split[2]))] if split else [path]

    def part(path: str, first: int, count: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(first)
            return file.read(count)

    try:
        return _model({path: os.path.getsize(path) for path in sorted(paths)}, part)
    except OSError as error:
        raise ModelError(f"{error.filename or path} cannot be read: {error.strerror}.") from None


def _model(sizes: dict[str, int], part: Read) -> Model:
    """The model of files, whose sizes in bytes are given by their paths."""
    weights = [path for path in sizes if path.lower().endswith(".gguf")]
    if weights:
        headers = _headers({path: gguf.parse(sizes[path]) for path in weights}, part)
        return _named(weights[0], gguf.model, headers)
    weights = [path for path in sizes if path.lower().endswith(".safetensors")]
    config = next((path for path in sizes if os.path.basename(path) == CONFIG), "")
    if not weights or not config:
        raise ModelError(f"There is no GGUF file, and there are no safetensors files with a {CONFIG}.")
    if sizes[config] > safetensors.LARGEST:
        raise ModelError(f"{config}: It has {sizes[config]} bytes, which is too much.")
    headers = _headers({path: safetensors.parse(sizes[path]) for path in weights}, part)
    return safetensors.model(part(config, 0, sizes[config]), headers)


def _headers(parsers: dict[str, Generator], part: Read) -> list[Any]:
    """What parsers make of their files, in this order, given what they want; all of one round at the same time."""
    headers: dict[str, Any] = dict.fromkeys(parsers)
    answers: dict[str, list[bytes] | None] = dict.fromkeys(parsers)
    with ThreadPoolExecutor(hub.THREADS) as threads:
        while answers:
            wants: dict[str, list[gguf.Range]] = {}
            for path, answer in answers.items():
                try:
                    wants[path] = _named(path, parsers[path].send, answer)
                except StopIteration as end:
                    headers[path] = end.value
            ranges = [(path, *one) for path, wanted in wants.items() for one in wanted]
            contents = threads.map(part, *zip(*ranges, strict=True)) if ranges else iter(())
            answers = {path: list(islice(contents, len(wanted))) for path, wanted in wants.items()}
    return list(headers.values())


def _named(path: str, function: Callable, *arguments: Any) -> Any:
    """What a function returns; a ModelError of it names the file."""
    try:
        return function(*arguments)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _cached(place: str, key: list) -> Model | None:
    """The model that was stored; None where there is none, or something else in its place."""
    try:
        with open(place, encoding="utf-8") as file:
            stored = json.load(file)
        if stored["key"] != key:
            return None
        *numbers, tensors = stored["model"]
        model = Model(
            *(tuple(number) if isinstance(number, list) else number for number in numbers),
            tuple(Tensor(name, tuple(shape), kind) for name, shape, kind in tensors),
        )
        return model if all(tensor.kind in BLOCKS for tensor in model.tensors) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
