# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import struct
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import gguf, safetensors
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.model import Model, ModelError, Tensor

from .shapes import CONFIGS, checkpoint, drive, gguf_header, gguf_values


def published(name: str, quant: str = "Q4_K_M", layers: int | None = None) -> Model:
    config, tensors = checkpoint(name, layers)
    return safetensors.as_gguf(safetensors.model(config, [tensors]), quant)


def read(data: bytes, size: int) -> Model:
    return gguf.model([drive(gguf.parse(size), data)[0]])


SMALL = published("Llama-3.1-8B", layers=2)
VALUES = gguf_values(SMALL)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("version", [2, 3])
def test_a_file_is_read_as_it_was_written(name, version):
    model = published(name, "Q8_0")
    found = read(*gguf_header(gguf_values(model), model.tensors, version))
    assert found == model._replace(vocabulary=2) and found.tied == model.tied


def test_the_parts_of_a_split_file_are_one_model():
    first, rest = SMALL.tensors[:3], SMALL.tensors[3:]
    split = {"split.count": 2, "split.tensors.count": len(SMALL.tensors)}
    parts = [gguf_header(VALUES | split | {"split.no": 0}, first), gguf_header(split | {"split.no": 1}, rest)]
    headers = [drive(gguf.parse(size), data)[0] for data, size in parts]
    assert gguf.model(headers).tensors == SMALL.tensors
    for wrong, said in ((headers[:1], "part 0 of 2, where 0 of 1"), (headers[::-1], "part 1 of 2, where 0 of 2")):
        with pytest.raises(ModelError, match=said):
            gguf.model(wrong)


def test_what_a_file_does_not_say_has_defaults():
    left = ("llama.attention.head_count_kv", "llama.attention.key_length", "llama.attention.value_length")
    found = read(*gguf_header({key: value for key, value in VALUES.items() if key not in left}, SMALL.tensors))
    assert (found.kv_heads, found.key_size, found.value_size) == ((32, 32), 128, 128)


def test_what_differs_between_layers():
    values = VALUES | {"llama.attention.head_count": [32, 0], "llama.attention.head_count_kv": [8, 0], "llama.vocab_size": 7}
    tensors = [tensor for tensor in SMALL.tensors if tensor.name != "blk.1.ffn_down.weight"]
    found = read(*gguf_header(values | {"llama.feed_forward_length": [14336, 14336]}, tensors))
    assert (found.heads, found.kv_heads, found.feed_forward, found.vocabulary) == ((32, 0), (8, 0), (14336, 0), 2)
    del values["tokenizer.ggml.tokens"]
    assert read(*gguf_header(values, tensors)).vocabulary == 7
    assert read(*gguf_header(values | {"llama.nextn_predict_layers": 2}, tensors)).kv_heads == (0, 0)


@pytest.mark.parametrize(
    ("architecture", "layers", "window", "pattern", "expected"),
    [
        ("llama", 4, 4096, None, (0, "....")),
        ("phi3", 4, 262144, None, (0, "....")),
        ("qwen2", 4, 32768, (True,) * 4, (0, "....")),
        ("gemma2", 4, None, None, (4096, "s.s.")),
        ("gemma3", 7, 1024, None, (1024, "sssss.s")),
        ("gemma3", 7, None, None, (0, ".......")),
        ("gemma3", 4, 512, 2, (512, "s.s.")),
        ("gpt-oss", 4, 128, None, (128, "s.s.")),
        ("cohere2moe", 5, 4096, None, (4096, ".sss.")),
        ("llama4", 5, None, None, (8192, "sss.s")),
        ("llama4", 5, 0, None, (0, ".....")),
        ("smallthinker", 5, 1, None, (4096, ".sss.")),
        ("exaone4", 30, 4096, None, (0, "." * 30)),
        ("exaone4", 64, 4096, None, (4096, "sss." * 16)),
        ("mimo2", 4, 128, (False, True), (128, ".s..")),
    ],
)
def test_which_layers_slide_is_decided_as_llama_cpp_does(architecture, layers, window, pattern, expected):
    width, sliding = gguf.slides(architecture, layers, window, pattern)
    assert (width, "".join(".s"[flag] for flag in sliding)) == expected


def test_a_long_list_of_tokens_is_leapt_over():
    model = published("Llama-3.1-70B")
    random.seed(1)
    words = ["".join(random.choices("abcdefgh Ġ", k=random.randint(1, 14))) for _ in range(280_000)]
    values = gguf_values(model, words[:128_256]) | {"tokenizer.ggml.merges": [f"{word} {word}" for word in words]}
    values |= {"tokenizer.ggml.bos_token_id": 0, "tokenizer.chat_template": "{% if x %}" * 900, "general.quantization_version": 2}
    data, size = gguf_header(values, model.tensors)
    header, count = drive(gguf.parse(size), data)
    assert gguf.model([header]) == model and size > 40e9 and len(data) > 9e6 and count < 3 << 20


@pytest.mark.parametrize("trap", ["like.a.key", "unlike"])
def test_a_leap_that_lands_wrong_is_taken_back(trap):
    texts = ["ab"] * 150_000
    texts[-100:-97] = [trap, "abcd", "x" * 600]
    values = VALUES | {"tokenizer.ggml.merges": texts, "general.file_type": 15}
    assert read(*gguf_header(values, SMALL.tensors)) == SMALL._replace(vocabulary=2)


def changed(place: int, new: bytes, values: dict = VALUES, tensors=SMALL.tensors) -> tuple[bytes, int]:
    data, size = gguf_header(values, tensors)
    return data[:place] + new + data[place + len(new) :], size


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ((b"", 0), "no GGUF file"),
        ((b"GGUF", 4), "ends within its header"),
        (changed(0, b"\x89PNG"), "no GGUF file"),
        (changed(4, b"\0\0\0\3"), "big-endian"),
        (changed(4, b"\1\0\0\0"), "version 1"),
        (changed(8, b"\xff" * 8), "tensors and"),
        (changed(24, b"\xff" * 8), "too long"),
        ((gguf_header(VALUES, SMALL.tensors)[0], 600), "ends within"),
        ((gguf_header(VALUES, SMALL.tensors)[0], 10**8), "not downloaded to its end"),
        (gguf_header(VALUES, SMALL.tensors[:2] * 2), "is there twice"),
        (gguf_header(VALUES, [Tensor("x", (100,), "Q4_0")]), "shape that Q4_0 cannot have"),
        (gguf_header(VALUES, [Tensor("blk.2.x", (100,), "F32")]), "'blk.2.x' is of no layer"),
        (gguf_header(VALUES | {"general.alignment": 3}, []), "alignment is 3"),
        (gguf_header(VALUES | {"general.architecture": 3}, SMALL.tensors), "no architecture"),
        (gguf_header(VALUES | {"llama.block_count": 1 << 20}, SMALL.tensors), "block_count is 1048576"),
        (gguf_header(VALUES | {"llama.attention.head_count": [1] * 3}, SMALL.tensors), "3 numbers for 2 layers"),
        (gguf_header(VALUES | {"llama.embedding_length": True}, SMALL.tensors), "embedding_length is True"),
        (gguf_header(VALUES | {"llama.context_length": 0}, SMALL.tensors), "context_length is 0"),
        (gguf_header(VALUES | {"llama.ssm.state_size": 16}, SMALL.tensors), "'llama' with llama.ssm.state_size"),
        (gguf_header(VALUES | {"general.architecture": "bert"}, SMALL.tensors), "'bert' keeps"),
        (gguf_header(VALUES, []), "no tensors"),
        (gguf_header(VALUES, [Tensor("x" * 64, (1,), "F32")]), "has 64 bytes, which is too long"),
        (gguf_header({"general.architecture": "llama"}, SMALL.tensors), "block_count is None"),
    ],
)
def test_what_is_wrong_is_a_sentence(file, said):
    with pytest.raises(ModelError, match=said) as caught:
        read(*file)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_hostile_list_takes_no_memory():
    data, _ = gguf_header({"x": ["a"]}, [])
    data = data[: data.index(b"x") + 9] + struct.pack("<Q", 1 << 26)
    read = 0
    parser = gguf.parse(1 << 50)
    wanted = next(parser)
    with pytest.raises(ModelError, match="more than 64 MiB"):
        while True:
            assert all(count <= 1 << 20 for _, count in wanted)
            read += sum(count for _, count in wanted)
            wanted = parser.send([data.ljust(count, b"\0") if first == 0 else bytes(count) for first, count in wanted])
    assert read < 66 << 20


EXTREMES = [0, 1, 0x7F, 0xFF, 0x100, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
WRONG = [0, 1, 1 << 31, (1 << 32) - 1, True, 1e38, float("nan"), "", "llama", "x" * 100, [0], [1] * 2, [1] * 600, [1.0], ["a"] * 3, [True]]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Bytes with a few of them flipped, cut, put in, taken out, or replaced by an extreme number."""
    content = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5))):
        place = dice.randrange(len(content) + 1)
        match dice.randrange(6):
            case 0 | 1:
                content[place : place + 1] = bytes([dice.randrange(256)])
            case 2:
                del content[place:]
            case 3:
                content[place:place] = dice.randbytes(dice.choice((1, 8, 100)))
            case 4:
                del content[place : place + dice.choice((1, 4, 8))]
            case _:
                content[place : place + 8] = struct.pack("<Q", dice.choice(EXTREMES))
    return bytes(content)


def test_ten_thousand_mutated_headers_are_a_model_or_a_sentence():
    dice = random.Random(7)
    model = published("gpt-oss-20b", "Q8_0", layers=1)
    values = gguf_values(model)
    data, size = gguf_header(values, model.tensors)
    told, read_as_models, start = set(), 0, time.monotonic()
    for number in range(10_000):
        if number % 4 == 0:
            tensors = list(model.tensors)
            if dice.random() < 0.5:
                place = dice.randrange(len(tensors))
                shape = tuple(dice.choice(EXTREMES) for _ in range(dice.randrange(1, 5)))
                tensors[place] = tensors[place]._replace(shape=shape, name=dice.choice(("", "blk.99.x", tensors[0].name, "\0" * 70)))
            found = gguf_header(values | {dice.choice(list(values)): dice.choice(WRONG)}, tensors, dice.choice((2, 3, 3, 3, 4)))[0]
        else:
            found = mutated(data, dice)
        try:
            read(found, dice.choice((len(found), size, 1 << 62)))
            read_as_models += 1
        except ModelError as error:
            told.add(str(error).partition("'")[0])
    assert time.monotonic() - start < 60 and read_as_models > 500 and len(told) > 30
