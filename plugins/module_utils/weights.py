# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files of a repository an engine needs, and whether a GGUF file must be made of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from .hub import File, HubError, Snapshot

DEFAULT_QUANT = "Q4_K_M"
# The hub serves larger files (bytes) by Xet only (huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE).
LARGEST = 50_000_000_000
# What llama-quantize makes without an importance matrix (llama.cpp: tools/quantize/quantize.cpp, and
# tensor_requires_imatrix in src/llama-quant.cpp), or the converter by itself (the last four).
MAKES = """Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_0 Q4_1 Q4_K_S Q4_K_M Q5_0 Q5_1 Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS
    Q8_0 F16 BF16 F32""".split()

# Parts of a split GGUF file: model-00001-of-00003.gguf
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
# The quantisation at the end of a GGUF file's name.
_QUANT = re.compile(r"(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|[MN][XV]FP4\w*|BF16|FP?16|FP?32))$", re.IGNORECASE)
# GGUF files that are no language model: projectors of images and sound, and statistics for quantisation.
_PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)
_NO_MODEL = re.compile(rf"{_PROJECTOR.pattern}|imatrix", re.IGNORECASE)
# Of several projectors of one model that of these is taken, the first that there is.
_PROJECTORS = ("f16", "bf16", "f32")
# What engines for safetensors read, all at the top of a repository: weights, their index, configuration, tokenizer and
# code. The same weights in other formats, or under Mistral's name beside the usual one, would only take place.
_SAFETENSORS = re.compile(r"[^/]+\.(safetensors|json|txt|model|jinja|tiktoken|py)")
_OTHER_FORMATS = re.compile(r".*\.(bin|msgpack|h5)\.index\.json|consolidated.*", re.IGNORECASE)


class Weights(NamedTuple):
    """What an engine needs of a model.

    Attributes:
        files: to be downloaded.
        quant: the quantisation of the GGUF file to be made of them; empty where the engine reads them as they are.
        first_file: what an engine for GGUF opens: the first part of a split file, or the one to be made.
        projector: the one of ``files`` that turns images or sound into what the model reads; none where none is wanted.
    """

    files: tuple[File, ...]
    quant: str
    first_file: str
    projector: File | None = None

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)

    @property
    def room(self) -> int:
        """Bytes on the volume at most: while a GGUF file is made there are the files, the same in 16 bits, and the result."""
        return int(self.size * 2.6) if self.quant else self.size


def parse_model(model: str) -> tuple[str, str | None]:
    """Split ``org/repo[:QUANT]``.

    Raises:
        HubError: bad_model.
    """
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?", model)
    if not match:
        raise HubError("bad_model", f"{model!r} is not of the form org/repo or org/repo:QUANT.")
    return match[1], match[2]


def select(engine: str, snapshot: Snapshot, quant: str | None, projector: str = "") -> Weights:
    """What an engine needs: one GGUF file (or all parts of it), or safetensors with what belongs to them.

    Args:
        engine: ``llama_cpp`` reads GGUF, every other engine safetensors.
        quant: the end of the GGUF file's name, in any case; DEFAULT_QUANT by default. A repository that has safetensors and no
            GGUF files gets one of this quantisation made.
        projector: the name of the multimodal projector's file, ``auto``, or empty for none; of ``llama_cpp`` alone.

    Raises:
        HubError: no_such_file, with what there is.
    """
    if engine != "llama_cpp":
        weights = Weights(_safetensors(engine, snapshot), "", "")
    elif models := _gguf_models(snapshot):
        files = _gguf(snapshot, models, quant or DEFAULT_QUANT)
        weights = Weights(files, "", files[0].path)
    else:
        weights = _to_be_made(snapshot, quant or DEFAULT_QUANT)
    if projector and engine == "llama_cpp":
        found = _projector(snapshot, projector)
        weights = weights._replace(files=(*weights.files, found), projector=found)
    for file in weights.files:
        if file.size > LARGEST:
            raise HubError(
                "no_such_file",
                f"{file.path} of {snapshot.repo} has {in_words(file.size)}, and the hub sends no file above {in_words(LARGEST)} "
                "over HTTP. Choose a repository that splits it.",
            )
    return weights


def in_words(size: int) -> str:
    """Bytes as the hub's own pages write them, in powers of ten."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.3g} {unit}"
    return f"{size} B"


def _gguf_models(snapshot: Snapshot) -> dict[str, list[File]]:
    """The GGUF models of a repository: their parts by their name without suffix."""
    models: dict[str, list[File]] = {}
    for file in snapshot.files:
        if file.path.lower().endswith(".gguf") and not _NO_MODEL.search(file.path.rpartition("/")[2]):
            models.setdefault(_PART.sub("", file.path[: -len(".gguf")]), []).append(file)
    return models


def _to_be_made(snapshot: Snapshot, quant: str) -> Weights:
    try:
        files = _safetensors("llama.cpp's converter", snapshot)
    except HubError:
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has neither GGUF files, which llama.cpp needs, nor safetensors, of which they could be made. "
            "Look for a repository of the same model that has them; the names of those with GGUF files often end in -GGUF.",
        ) from None
    if quant.upper() not in MAKES:
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has no GGUF files, and of its safetensors none of the quantisation {quant} can be made, "
            f"only {', '.join(MAKES)}. Choose one as llm_model: {snapshot.repo}:QUANT.",
        )
    return Weights(files, quant.upper(), f"{snapshot.repo.rpartition('/')[2]}-{quant.upper()}.gguf")


def _gguf(snapshot: Snapshot, models: dict[str, list[File]], quant: str) -> tuple[File, ...]:
    end = re.compile(rf"(?:^|[-._/]){re.escape(quant)}$", re.IGNORECASE)
    # The exact quantisation first: Q4_K_M is also the end of UD-Q4_K_M.
    chosen = [name for name in models if _quant(name).lower() == quant.lower()] or list(filter(end.search, models))
    if not chosen:
        listed = ", ".join(f"{_quant(name)} ({in_words(_size(files))})" for name, files in models.items())
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has no GGUF file of the quantisation {quant}; it has {listed}. "
            f"Choose one as llm_model: {snapshot.repo}:QUANT.",
        )
    if len(chosen) > 1:
        listed = ", ".join(f"{name} ({in_words(_size(models[name]))})" for name in chosen)
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has several GGUF files of the quantisation {quant}: {listed}. Write more of the "
            "name's end after the colon of llm_model.",
        )
    files = models[chosen[0]]
    part = _PART.search(files[0].path[: -len(".gguf")])
    if part and len(files) != int(part[2]):
        raise HubError(
            "no_such_file", f"{snapshot.repo} has {len(files)} of {int(part[2])} parts of {chosen[0]}: choose another."
        )
    return tuple(files)


def _projector(snapshot: Snapshot, name: str) -> File:
    """The projector of this name, or for ``auto`` the one there is."""
    there = [file for file in snapshot.files if file.path.lower().endswith(".gguf") and _PROJECTOR.search(file.path.rpartition("/")[2])]
    if name == "auto":
        by_quant = {quant: [file for file in there if _quant(file.path[: -len(".gguf")]).lower() == quant] for quant in _PROJECTORS}
        chosen = next(filter(None, by_quant.values()), there)
    else:
        chosen = [file for file in snapshot.files if name in (file.path, file.path.rpartition("/")[2])]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{file.path} ({in_words(file.size)})" for file in there)
    raise HubError(
        "no_such_file",
        f"{snapshot.repo} has {'several files' if chosen else 'no file'} for llama_cpp_mmproj: {name}; "
        + (f"set it to one of {listed}." if there else "no name in it has mmproj. Without llama_cpp_mmproj the model reads text alone."),
    )


def _quant(name: str) -> str:
    """The quantisation in a GGUF file's name without suffix, or the whole name where none is recognised."""
    match = _QUANT.search(name.rpartition("/")[2])
    return match[1] if match else name


def _safetensors(engine: str, snapshot: Snapshot) -> tuple[File, ...]:
    wanted = [file for file in snapshot.files if _SAFETENSORS.fullmatch(file.path)]
    usual = [file for file in wanted if not _OTHER_FORMATS.fullmatch(file.path)]
    for files in (usual, wanted):  # Mistral's own layout only where there is no other
        if any(file.path.endswith(".safetensors") for file in files):
            return tuple(files)
    cure = "Choose a repository that has them."
    if any(file.path.lower().endswith(".gguf") for file in snapshot.files):
        cure = "Its GGUF files are for llama.cpp: put the host in the group llama_cpp."
    raise HubError("no_such_file", f"{snapshot.repo} has no safetensors files, which {engine} needs. {cure}")


def _size(files: list[File]) -> int:
    return sum(file.size for file in files)
