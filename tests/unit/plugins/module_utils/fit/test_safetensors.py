# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import random
import re
import struct
from functools import cache
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import safetensors
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.model import Model, ModelError, Tensor
from ansible_collections.selfhosted.llm.plugins.module_utils.weights import MAKES

from .shapes import CONFIGS, checkpoint, drive, safetensors_header
from .test_gguf import EXTREMES, mutated

QUANTISED = json.loads((Path(__file__).parent / "quantised.json").read_text())
SHAPES = [name for name in CONFIGS if name in QUANTISED]
# What the hub says of their files: total_size in model.safetensors.index.json.
PUBLISHED = {
    "Llama-3.1-8B": 16060522496,
    "Llama-3.1-70B": 141107412992,
    "Mixtral-8x7B": 93405585408,
    "Qwen3-30B-A3B": 61064245248,
    "gemma-2-9b": 18483411968,
    "gpt-oss-20b": 13761264768,
}


@cache
def whole(name: str, layers: int | None = None) -> Model:
    config, tensors = checkpoint(name, layers)
    return safetensors.model(config, [tensors])


def types(table: dict[str, str], model: Model) -> dict[str, str]:
    """The type of each tensor of a model, as quantised.json writes it."""
    found = {}
    for name in (tensor.name for tensor in model.tensors):
        layer, part = re.fullmatch(r"(?:blk\.(\d+)\.)?(.+?)(?:\.weight)?", name).groups()
        runs = [run.partition("*") for run in table.get(part, table[""]).split()]
        by_layer = [kind for kind, _, times in runs for _ in range(int(times or 1))]
        found[name] = by_layer[int(layer or 0)] if len(by_layer) > 1 else by_layer[0]
    return found


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("quant", sorted(set(MAKES) - {"F32", "F16", "BF16"}))
def test_a_quantisation_is_what_the_quantiser_makes(name, quant):
    found = safetensors.as_gguf(whole(name), quant)
    expected = types(QUANTISED[name][quant], found)
    assert {tensor.name: tensor.kind for tensor in found.tensors if tensor.kind != "F32"} == {
        tensor.name: expected[tensor.name] for tensor in found.tensors if tensor.kind != "F32"
    }
    plain = {tensor.name for tensor in found.tensors if tensor.kind == "F32"}
    assert all("norm" in name or "gate_inp" in name or name.endswith(".bias") for name in plain)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_is_as_large_as_published(name):
    assert whole(name).size == PUBLISHED[name]


def test_what_the_converter_alone_makes():
    model = whole("Llama-3.2-1B")
    for quant, size in (("F32", 4), ("F16", 2), ("BF16", 2)):
        weights = sum(tensor.weights for tensor in model.tensors if len(tensor.shape) > 1)
        norms = sum(tensor.weights for tensor in model.tensors if len(tensor.shape) == 1)
        assert safetensors.as_gguf(model, quant).size == weights * size + norms * 4
    small = whole("gpt-oss-20b", 1)
    found = {tensor.name: tensor for tensor in safetensors.as_gguf(small, "Q8_0").tensors}
    assert found["blk.0.ffn_up_exps.weight"] == Tensor("blk.0.ffn_up_exps.weight", (2880, 2880, 32), "MXFP4")
    assert found["blk.0.ffn_up_exps.bias"] == Tensor("blk.0.ffn_up_exps.bias", (2880, 32), "F32")
    assert {found[f"blk.0.{name}"].kind for name in ("attn_sinks.weight", "ffn_gate_inp.weight", "attn_output.bias")} == {"F32"}
    with pytest.raises(ModelError, match="makes no Q4_K_M of a model in MXFP4"):
        safetensors.as_gguf(small, "Q4_K_M")


def test_an_odd_row_becomes_what_fits():
    odd = Tensor("blk.0.attn_q.weight", (40, 64), "F32"), Tensor("output.weight", (64, 8), "F32")
    model = whole("Llama-3.1-8B", 1)._replace(tensors=odd)
    assert [tensor.kind for tensor in safetensors.as_gguf(model, "Q4_K_M").tensors] == ["F16", "Q8_0"]
    assert [tensor.kind for tensor in safetensors.as_gguf(model, "Q8_0").tensors] == ["F16", "Q8_0"]


def test_experts_in_one_tensor_are_those_in_many():
    config, tensors = checkpoint("Qwen3-30B-A3B", 1)
    joined = {name: entry for name, entry in tensors.items() if ".experts." not in name}
    joined |= {
        "model.layers.0.mlp.experts.gate_up_proj": ("BF16", (128, 1536, 2048)),
        "model.layers.0.mlp.experts.down_proj": ("BF16", (128, 2048, 768)),
    }
    assert sorted(safetensors.model(config, [joined]).tensors) == sorted(whole("Qwen3-30B-A3B", 1).tensors)


def test_the_tensors_of_several_files_are_one_model():
    config, tensors = checkpoint("Mixtral-8x7B", 2)
    names = sorted(tensors)
    files = [{name: tensors[name] for name in names[part::3]} for part in range(3)]
    assert sorted(safetensors.model(config, files).tensors) == sorted(whole("Mixtral-8x7B", 2).tensors)


def test_an_image_encoder_counts_and_is_left_out_of_a_gguf_file():
    model = whole("gemma-3-4b", 1)
    names = {tensor.name for tensor in model.tensors}
    made = {tensor.name for tensor in safetensors.as_gguf(model, "Q8_0").tensors}
    assert len(names - made) == 2 and all("vision" in name or "multi_modal" in name for name in names - made)
    assert (model.heads, model.kv_heads, model.key_size, model.context, model.window) == ((8,), (4,), 256, 131072, 1024)


CONFIG, TENSORS = checkpoint("Llama-3.1-8B", 2)


def with_config(**values) -> bytes:
    return json.dumps(json.loads(CONFIG) | values).encode()


@pytest.mark.parametrize(
    ("config", "files", "said"),
    [
        (b"\xff", [TENSORS], "config.json is no JSON object"),
        (b"[" * 100_000, [TENSORS], "config.json is no JSON object"),
        (b"[]", [TENSORS], "config.json is no JSON object"),
        (with_config(model_type="bert"), [TENSORS], "model_type 'bert'; only llama, mistral"),
        (with_config(num_hidden_layers=1e9), [TENSORS], "num_hidden_layers: 1000000000.0"),
        (with_config(num_hidden_layers=10**9), [TENSORS], "1000000000 layers"),
        (with_config(num_hidden_layers=3), [TENSORS], "no tensors for layer 2"),
        (with_config(num_attention_heads=0), [TENSORS], "num_attention_heads: 0"),
        (with_config(hidden_size=None), [TENSORS], "has no hidden_size"),
        (CONFIG, [], "no tensors for layer 0"),
        (CONFIG, [{name: entry for name, entry in TENSORS.items() if "embed" not in name}], "no tensors for the embedding"),
        (CONFIG, [TENSORS, {"model.norm.weight": ("F32", (8,))}], "'output_norm.weight' differ"),
        (with_config(num_local_experts=2, num_experts_per_tok=1),
         [TENSORS, {"model.layers.0.block_sparse_moe.experts.0.w1.weight": ("F32", (8, 8))}], "have 1 experts"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_model_is_a_sentence(config, files, said):
    with pytest.raises(ModelError, match=said) as caught:
        safetensors.model(config, files)
    assert str(caught.value).endswith((".", "?")) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("I4", [2], [0, 1]), "type 'I4'"),
        (("F32", [-1], [0, 4]), "shape that is not possible"),
        (("F32", [1] * 9, [0, 4]), "shape that is not possible"),
        (("F32", [1], [0, 8]), "is not in the file"),
        (("F32", [1 << 39] * 8, [0, 4]), "is not in the file"),
        (("F32", [1], [1 << 60, (1 << 60) + 4]), "is not in the file"),
        (("F32", "2", [0, 4]), "does not describe"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_sentence(entry, said):
    header = json.dumps({"x": dict(zip(("dtype", "shape", "data_offsets"), entry, strict=True))}).encode()
    with pytest.raises(ModelError, match=said):
        drive(safetensors.parse(len(header) + 1000), struct.pack("<Q", len(header)) + header)


@pytest.mark.parametrize(
    ("data", "size", "said"),
    [(b"", 0, "no safetensors"), (b"\xff" * 8, 1000, "no safetensors"), (b"\xff" * 7 + b"\0", 1 << 60, "at most"),
     (struct.pack("<Q", 4) + b"[[[[", 12, "no JSON object")],
)  # fmt: skip
def test_what_is_no_header_is_a_sentence(data, size, said):
    with pytest.raises(ModelError, match=said):
        drive(safetensors.parse(size), data)


def test_quantised_files_are_counted_but_nothing_is_made_of_them():
    tensors = {name: entry for name, entry in TENSORS.items() if "q_proj" not in name}
    tensors["model.layers.0.self_attn.q_proj.qweight"] = ("I32", (512, 4096))
    model = safetensors.model(CONFIG, [tensors])
    assert Tensor("blk.0.attn_q.qweight", (4096, 512), "I32") in model.tensors
    with pytest.raises(ModelError, match="tensors of the type I32"):
        safetensors.as_gguf(model, "Q4_K_M")


WRONG = [None, True, -1, 0, 3, 1e308, float("nan"), 1 << 70, "x", "gemma3", [], {}, [1] * 5, {"text_config": {}}]


@pytest.mark.parametrize(
    ("said", "quantisation"),
    [
        ({}, ""),
        ({"quantization_config": {"quant_method": "AWQ", "bits": 4}}, "awq"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": ["awq"]}, ""),
        ({"quantization_config": {"quant_method": 4}}, ""),
    ],
)
def test_the_quantisation_is_what_config_json_says(said, quantisation):
    config, tensors = checkpoint("Llama-3.2-1B", 1)
    assert safetensors.model(json.dumps(json.loads(config) | said).encode(), [tensors]).quantisation == quantisation


def test_ten_thousand_mutated_models_are_a_model_or_a_sentence():
    dice = random.Random(7)
    originals = [(*checkpoint(name, 1), *safetensors_header(checkpoint(name, 1)[1])) for name in ("gpt-oss-20b", "gemma-3-4b")]
    told, read_as_models = set(), 0
    for number in range(10_000):
        config, tensors, data, size = originals[number // 4 % 2]
        header, settings, described = data, config, tensors
        match number % 4:
            case 0 | 1:
                header = mutated(data, dice)
            case 2:
                values = json.loads(config)
                values[dice.choice([*values, "text_config", "model_type"])] = dice.choice(WRONG)
                settings = mutated(config, dice) if dice.random() < 0.5 else json.dumps(values).encode()
            case 3:
                described = dict(tensors)
                name = dice.choice(list(tensors))
                kind, shape = described.pop(name)
                shape = tuple(dice.choice((*shape, *EXTREMES[:6])) for _ in range(dice.randrange(6)))
                names = (name, name.replace("0", "9" * dice.randrange(9)), name[: dice.randrange(len(name))], dice.choice(list(tensors)))
                described[dice.choice(names)] = dice.choice((kind, "F32", "U8")), shape
        try:
            shapes = drive(safetensors.parse(dice.choice((len(header), size))), header)[0] if header is not data else described
            model = safetensors.model(settings, [shapes])
            read_as_models += 1
            safetensors.as_gguf(model, dice.choice(MAKES))
        except ModelError as error:
            told.add(str(error).partition("'")[0])
    assert read_as_models > 500 and len(told) > 20
