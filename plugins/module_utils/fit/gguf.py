# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read GGUF headers: what llama.cpp (build b11434) would make of them.

The parser is a generator that says which bytes it wants next, so that whoever drives it reads as little as possible, from
wherever: a file of 40 GB with 128,000 tokens and 280,000 merges takes 2 MiB of its 9 MiB of header.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Sequence
from itertools import takewhile
from typing import NamedTuple

from .model import BLOCKS, Model, ModelError, Tensor, is_whole

# A part of a file: its first byte, and the number of bytes.
Range = tuple[int, int]
Wants = Generator[list[Range], list[bytes], "Header"]

# Bytes to ask for at once where fewer would do for now.
STEP = 1 << 18
# No model needs more: bytes of a header; keys; tensors; layers (LLAMA_MAX_LAYERS); bytes of a tensor's name (GGML_MAX_NAME).
LARGEST, KEYS, TENSORS, LAYERS, NAME = 1 << 26, 1 << 12, 1 << 16, 512, 63

# Names of the types of tensors by their numbers (enum ggml_type in ggml/include/ggml.h).
KINDS = dict(
    enumerate("""F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL
    IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 - - - TQ1_0 TQ2_0 - - - MXFP4 NVFP4 Q1_0 Q2_0""".split())
)  # fmt: skip
# How numbers are written by the number of their type (enum gguf_type in ggml/include/gguf.h); 8 is a string, 9 an array.
_NUMBERS = dict(enumerate("B b H h I i f ?".split())) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")

# Arrays of at least so many texts are leapt over: so many probes of so many bytes at a time, no farther from each other than
# this, show how far they reach. What follows one (4 bytes for each of its texts, or the tensors' data) is longer than that.
# A probe that is in it has so many texts at least, none longer than 511 bytes.
_MANY, _PROBES, _PROBE, _FARTHEST, _HOPS = 50_000, 8, 4096, 1 << 20, 8
_PERHAPS_LENGTH = re.compile(rb"(?=[\0-\xff][\0\1]\0{6})", re.DOTALL)
_KEY = re.compile(rb"[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+")

# Which layers slide, as src/models/*.cpp calls load_swa_pattern: every n-th does not, the last of n or the first; and the
# window where the file names none. A pattern in the file comes before n; 0 takes it from there alone.
_SLIDING = {
    "gemma2": (2, False, 4096), "gemma3": (6, False, 0), "gpt-oss": (2, False, 0), "cohere2": (4, False, 0), "olmo2": (4, False, 0),
    "llama4": (4, False, 8192), "exaone4": (4, False, 4096), "exaone-moe": (4, False, 128), "plamo3": (8, False, 0),
    "mellum": (4, False, 0), "afmoe": (4, False, 0), "muse-glimmer": (4, False, 0), "cohere2moe": (4, True, 0),
    "laguna": (4, True, 0), "smallthinker": (4, True, 0), "granite_swa": (0, False, 0), "mimo2": (0, False, 0),
    "step35": (0, False, 0), "spark2_5": (0, False, 0), "maple": (0, False, 0),
}  # fmt: skip
# These have this window whatever the file says, unless that is 0.
_WINDOWS = {"llama4": 8192, "smallthinker": 4096}
# Keys (their beginnings, after the architecture) and architectures of models whose context takes other memory than keys and
# values of equal size in each layer, or none: states, latent attention, indexes, layers that share, encoders.
_OTHER_KEYS = (
    "ssm.", "wkv.", "kda.", "shortconv.", "attention.kv_lora_rank", "attention.indexer.", "attention.shared_kv_layers",
    "attention.key_length_swa", "attention.value_length_swa", "embedding_length_per_layer_input",
)  # fmt: skip
_OTHERS = frozenset(
    """clip bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert gemma-embedding llama-embed t5
    t5encoder minimax-01 gemma3n gemma4-assistant eagle3 dflash wavtokenizer-dec pockettts""".split()
)


class Header(NamedTuple):
    """The header of one file.

    Attributes:
        values: numbers, short texts, and short arrays of numbers by their keys.
        counts: lengths of all arrays by their keys.
    """

    values: dict[str, int | float | str | tuple]
    counts: dict[str, int]
    tensors: tuple[Tensor, ...]


def parse(size: int) -> Wants:
    """The header of a file of so many bytes; a generator that yields the ranges it wants, and is sent their bytes.

    No range is longer than 1 MiB or goes beyond the file.

    Raises:
        ModelError: what is wrong, without the file's name.
    """
    cursor = _Cursor(size)
    try:
        return (yield from _parse(cursor))
    except ModelError:
        if not cursor.leapt:
            raise
    return (yield from _parse(_Cursor(size, leaps=False)))


def model(parts: Sequence[Header]) -> Model:
    """The model of a file, or of all parts of a split one in their order.

    Raises:
        ModelError: what is wrong, without the file's name.
    """
    values, counts = parts[0].values, parts[0].counts
    for number, part in enumerate(parts):
        of, no = part.values.get("split.count") or 1, part.values.get("split.no", 0)
        if (of, no) != (len(parts), number):
            raise ModelError(f"It is part {no!s:.9} of {of!s:.9}, where {number} of {len(parts)} is wanted, counted from 0.")
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelError("It names no architecture.")
    keys = tuple(f"{architecture}.{name}" for name in _OTHER_KEYS)
    other = next((f" with {key}" for key in values if key.startswith(keys) and values[key]), "")
    if other or architecture in _OTHERS:
        raise ModelError(f"What a model of the architecture {architecture!r}{other[:80]} keeps of a context cannot be planned yet.")

    def number(name: str, default: int | None = None, least: int = 0) -> int:
        value = values.get(f"{architecture}.{name}", default)
        return max(each(name, least=least)) if isinstance(value, tuple) else checked(name, value, least)

    def checked(name: str, value: object, least: int) -> int:
        if value is None:
            raise ModelError(f"It has no {architecture}.{name}.")
        if not is_whole(value) or not least <= value < 1 << 31:
            raise ModelError(f"Its {architecture}.{name} is {value!s:.40}, which is not possible.")
        return value

    layers = values.get(f"{architecture}.block_count")
    if not is_whole(layers) or not 0 < layers <= LAYERS:
        raise ModelError(f"Its {architecture}.block_count is {layers!s:.40}, where 1 to {LAYERS} layers are possible.")

    def each(name: str, default: int | None = None, least: int = 0) -> tuple[int, ...]:
        value = values.get(f"{architecture}.{name}", default)
        found = value if isinstance(value, tuple) else (value,) * layers
        if len(found) != layers:
            raise ModelError(f"Its {architecture}.{name} has {len(found)} numbers for {layers} layers.")
        return tuple(checked(name, one, least) for one in found)

    heads = each("attention.head_count")
    kv_heads = each("attention.head_count_kv") if f"{architecture}.attention.head_count_kv" in values else heads
    predicting = number("nextn_predict_layers", 0)  # the last layers, which keep nothing
    kv_heads = tuple(0 if layer >= layers - predicting else count for layer, count in enumerate(kv_heads))
    embedding = number("embedding_length", least=1)
    head = embedding // max(1, heads[0])
    names = {tensor.name for tensor in tensors}
    feed_forward = each("feed_forward_length", 0)
    experts = number("expert_count", 0)
    if not tensors:
        raise ModelError("It has no tensors.")
    for tensor in tensors:
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        if layer and int(layer[1]) >= layers:
            raise ModelError(f"Its tensor {tensor.name!r:.80} is of no layer: there are {layers}.")
    window, sliding = slides(
        architecture, layers, values.get(f"{architecture}.attention.sliding_window"),
        values.get(f"{architecture}.attention.sliding_window_pattern"),
    )  # fmt: skip
    return Model(
        architecture=architecture,
        layers=layers,
        embedding=embedding,
        heads=heads,
        kv_heads=kv_heads,
        key_size=number("attention.key_length", head, 1),
        value_size=number("attention.value_length", head, 1),
        feed_forward=tuple(width if f"blk.{layer}.ffn_down.weight" in names else 0 for layer, width in enumerate(feed_forward)),
        experts=experts,
        experts_used=number("expert_used_count", 0),
        expert_feed_forward=number("expert_feed_forward_length", max(feed_forward)) if experts else 0,
        vocabulary=checked("vocab_size", counts.get("tokenizer.ggml.tokens") or values.get(f"{architecture}.vocab_size"), 1),
        context=number("context_length", least=1),
        window=window,
        sliding=sliding,
        quantisation="",
        tensors=tensors,
    )


def slides(architecture: str, layers: int, window: object = None, pattern: object = None) -> tuple[int, tuple[bool, ...]]:
    """The window, in tokens, and which layers slide, as llama.cpp has it.

    Args:
        window: as the file names it; None where it does not.
        pattern: a flag for each layer, or the n of "every n-th does not slide"; None where the file has none.

    Raises:
        ModelError: a window or pattern is not possible.
    """
    every, first, default = _SLIDING.get(architecture, (0, False, None))
    window = default if window is None else window
    if default is None or architecture == "exaone4" and layers != 64 or window == 0:
        return 0, (False,) * layers
    if not is_whole(window) or not 0 < window < 1 << 31:
        raise ModelError(f"Its sliding window is {window!s:.40}, which is not possible.")
    window = _WINDOWS.get(architecture, window)
    if isinstance(pattern, tuple):
        if len(pattern) > LAYERS:
            raise ModelError("The pattern of its sliding windows has more flags than there can be layers.")
        return window, tuple(bool(flag) for flag in (pattern + (False,) * layers)[:layers])
    every = every if pattern is None else pattern
    if not is_whole(every) or every < 0 or pattern is None and not every:
        raise ModelError(f"The pattern of its sliding windows is {pattern!s:.40}, which is not possible.")
    if every == 0:
        return window, (True,) * layers
    return window, tuple(layer % every != 0 if first else layer % every < every - 1 for layer in range(layers))


class _Cursor:
    """A place in a file, and the bytes around it that were read. Methods that may need more are generators like parse."""

    def __init__(self, size: int, leaps: bool = True):
        self.size, self.leaps, self.leapt = size, leaps, False
        self.at = self.first = 0
        self.data = b""

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self.size:
            raise ModelError("It ends within its header.")
        if self.at > LARGEST:
            raise ModelError(f"Its header has more than {LARGEST >> 20} MiB.")

    def take(self, count: int) -> Generator[list[Range], list[bytes], bytes]:
        start = self.at
        self.skip(count)
        if not self.first <= start <= self.at <= self.first + len(self.data):
            yield from self._fill(start, count)
        return self.data[start - self.first : self.at - self.first]

    def number(self, code: str) -> Generator[list[Range], list[bytes], int | float]:
        data = yield from self.take(struct.calcsize(f"<{code}"))
        return struct.unpack(f"<{code}", data)[0]

    def text(self, longest: int) -> Generator[list[Range], list[bytes], str]:
        length = yield from self.number("Q")
        if length > longest:
            raise ModelError(f"A name in its header has {length} bytes, which is too long.")
        data = yield from self.take(length)
        return data.decode("utf-8", "replace")

    def skip_texts(self, count: int) -> Generator[list[Range], list[bytes], None]:
        if count >= _MANY and self.leaps and (yield from self._leap(count)):
            return
        while count:
            yield from self.take(8)
            self.at -= 8
            data, at, end = self.data, self.at - self.first, len(self.data) - 8
            while count and at <= end:
                at += 8 + _LENGTH.unpack_from(data, at)[0]
                count -= 1
            self.skip(at - (self.at - self.first))

    def _fill(self, start: int, count: int) -> Generator[list[Range], list[bytes], None]:
        """Have so many bytes from a place on, and some more."""
        kept = self.data[start - self.first :] if self.first <= start else b""
        begin, wanted = start + len(kept), count - len(kept)
        while wanted > 0:
            [data] = yield [(begin, min(STEP, self.size - begin))]
            if not data:
                raise ModelError("It ends within its header.")
            kept += data
            begin, wanted = begin + len(data), wanted - len(data)
        self.first, self.data = start, kept

    def _leap(self, count: int) -> Generator[list[Range], list[bytes], bool]:
        """Find the end of a long array of texts by samples. What is found is no more than likely; offsets of tensors prove it."""
        inside, stride = self.at, min(4 * count, _FARTHEST) - _PROBE
        while inside + (_PROBES + 1) * stride < min(self.size, LARGEST):
            probes = yield [(inside + step * stride, _PROBE) for step in range(1, _PROBES + 1)]
            hits = len(list(takewhile(lambda probe: len(_chain(probe)) > _HOPS, probes)))
            inside += hits * stride
            if hits < _PROBES:
                [data] = yield [(inside, stride + _PROBE)]
                for at in _chain(data)[-4:]:
                    end = at + 8 + _LENGTH.unpack_from(data, at)[0]
                    if _KEY.fullmatch(data, at + 8, end) and int.from_bytes(data[end : end + 4], "little") <= max(_NUMBERS):
                        self.leapt, self.at, self.first, self.data = True, inside + at, inside, data
                        return True
                return False
        return False


def _chain(data: bytes) -> list[int]:
    """Where texts start that follow each other, from the first that seems one to the last whose length is possible."""
    for start in _PERHAPS_LENGTH.finditer(data, 0, 1024):
        places, at = [], start.start()
        while at + 8 <= len(data) and 0 < (length := _LENGTH.unpack_from(data, at)[0]) < 512:
            places.append(at)
            at += 8 + length
        if len(places) > _HOPS:
            return places
    return []


def _parse(cursor: _Cursor) -> Wants:
    start = yield from cursor.take(min(24, cursor.size))
    if start[:4] != b"GGUF":
        raise ModelError("It is no GGUF file.")
    if len(start) < 24:
        raise ModelError("It ends within its header.")
    version, tensor_count, key_count = struct.unpack("<IQQ", start[4:])
    if version and not version & 0xFFFF:
        raise ModelError("It is a GGUF file for big-endian machines.")
    if version not in (2, 3):
        raise ModelError(f"It is a GGUF file of version {version}, where 2 and 3 can be read.")
    if tensor_count > TENSORS or key_count > KEYS:
        raise ModelError(f"It claims {tensor_count} tensors and {key_count} keys, where {TENSORS} and {KEYS} are possible.")
    values: dict[str, int | float | str | tuple] = {}
    counts: dict[str, int] = {}
    for _number in range(key_count):
        key = yield from cursor.text(1 << 16)
        kind = yield from cursor.number("I")
        if kind == _STRING:
            length = yield from cursor.number("Q")
            if length > 64:
                cursor.skip(length)
            else:
                values[key] = (yield from cursor.take(length)).decode("utf-8", "replace")
        elif kind == _ARRAY:
            kind = yield from cursor.number("I")
            count = yield from cursor.number("Q")
            counts[key] = count
            if count > LARGEST:
                raise ModelError(f"Its {key!r:.80} claims {count} entries, which is too many.")
            if kind == _STRING:
                yield from cursor.skip_texts(count)
            elif kind not in _NUMBERS:
                raise ModelError(f"Its {key!r:.80} is an array of the type {kind}, which is not possible.")
            elif count > LAYERS:
                cursor.skip(count * struct.calcsize(f"<{_NUMBERS[kind]}"))
            else:
                format = f"<{count}{_NUMBERS[kind]}"
                values[key] = struct.unpack(format, (yield from cursor.take(struct.calcsize(format))))
        elif kind in _NUMBERS:
            values[key] = yield from cursor.number(_NUMBERS[kind])
        else:
            raise ModelError(f"Its {key!r:.80} is of the type {kind}, which is not possible.")
    alignment = values.get("general.alignment", 32)
    if not is_whole(alignment) or not 0 < alignment <= LARGEST or alignment & (alignment - 1):
        raise ModelError(f"Its alignment is {alignment!s:.40}, which is not possible.")
    tensors: dict[str, Tensor] = {}
    needed = end = 0
    for _number in range(tensor_count):
        name = yield from cursor.text(NAME)
        dimensions = yield from cursor.number("I")
        if not 1 <= dimensions <= 4:
            raise ModelError(f"Its tensor {name!r:.80} has {dimensions} dimensions, where 1 to 4 are possible.")
        *shape, number, offset = struct.unpack(f"<{dimensions}QIQ", (yield from cursor.take(8 * dimensions + 12)))
        kind = KINDS.get(number)
        if kind not in BLOCKS:
            raise ModelError(f"Its tensor {name!r:.80} is of the type {number}, which llama.cpp does not know.")
        if shape[0] % BLOCKS[kind][1] or name in tensors or offset != end:
            raise ModelError(f"Its tensor {name!r:.80} is there twice, in a wrong place, or of a shape that {kind} cannot have.")
        tensors[name] = Tensor(name, tuple(shape), kind)
        needed, end = end + tensors[name].size, end + -(-tensors[name].size // alignment) * alignment
        if needed > cursor.size:
            break
    if tensors and -(-cursor.at // alignment) * alignment + needed > cursor.size:
        raise ModelError(f"It ends before its tensor {name!r:.80} does: it is damaged, or was not downloaded to its end.")
    return Header(values, counts, tuple(tensors.values()))
