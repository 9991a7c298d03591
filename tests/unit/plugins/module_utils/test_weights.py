# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import hub, weights


def error_of(function, *arguments) -> hub.HubError:
    with pytest.raises(hub.HubError) as caught:
        function(*arguments)
    return caught.value


def paths(files) -> list[str]:
    return [file.path for file in files]


def snapshot(*listed: str) -> hub.Snapshot:
    """A repository with files of 1 GB, or of as many GB as stands behind a space."""
    pairs = ((*line.split(), "1")[:2] for line in listed)
    return hub.Snapshot("org/repo", "c" * 40, False, "", tuple(hub.File(path, int(gb) * 10**9) for path, gb in pairs))


@pytest.mark.parametrize(
    ("model", "parts"),
    [("org/repo", ("org/repo", None)), ("org/repo-1.5:Q4_1", ("org/repo-1.5", "Q4_1"))],
)
def test_a_model_is_a_repository_and_a_quantisation(model, parts):
    assert weights.parse_model(model) == parts


@pytest.mark.parametrize("model", ["repo", "a/b/c", "org/repo:", "https://huggingface.co/org/repo", "", "org/re po"])
def test_other_forms_of_a_model_are_refused(model):
    assert error_of(weights.parse_model, model).kind == "bad_model"


QUANTS = snapshot(
    "Model-Q4_K_M.gguf 4", "Model-UD-Q4_K_M.gguf 5", "Model-IQ4_XS.gguf 3", "mmproj-F16.gguf", "imatrix.gguf",
    "model.q5_0.gguf", "BF16/Model-BF16-00001-of-00002.gguf 9", "BF16/Model-BF16-00002-of-00002.gguf 7",
    "config.json",
)  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "files"),
    [
        (None, ["Model-Q4_K_M.gguf"]),
        ("q4_k_m", ["Model-Q4_K_M.gguf"]),
        ("UD-Q4_K_M", ["Model-UD-Q4_K_M.gguf"]),
        ("Q5_0", ["model.q5_0.gguf"]),
        ("BF16", ["BF16/Model-BF16-00001-of-00002.gguf", "BF16/Model-BF16-00002-of-00002.gguf"]),
        ("Model-IQ4_XS", ["Model-IQ4_XS.gguf"]),
    ],
)
def test_llama_cpp_gets_one_quantisation_with_all_its_parts(quant, files):
    assert paths(weights.select("llama_cpp", QUANTS, quant).files) == files


@pytest.mark.parametrize("quant", ["Q4_XS", "Q8_0", "F16", "GGUF"])
def test_a_quantisation_that_is_not_there_is_answered_with_those_that_are(quant):
    error = error_of(weights.select, "llama_cpp", QUANTS, quant)
    assert error.kind == "no_such_file"
    assert "it has Q4_K_M (4 GB), UD-Q4_K_M (5 GB), IQ4_XS (3 GB), q5_0 (1 GB), BF16 (16 GB)" in str(error)


def test_two_models_in_one_repository_are_told_apart_by_more_of_the_name():
    both = snapshot("small-1b-Q4_K_M.gguf", "large-8b-Q4_K_M.gguf 5")
    error = error_of(weights.select, "llama_cpp", both, None)
    assert "several" in str(error) and "large-8b-Q4_K_M (5 GB)" in str(error)
    assert paths(weights.select("llama_cpp", both, "8b-Q4_K_M").files) == ["large-8b-Q4_K_M.gguf"]


def test_a_split_file_with_a_part_missing_is_refused():
    lone = snapshot("m-Q4_K_M-00002-of-00003.gguf")
    assert "1 of 3 parts" in str(error_of(weights.select, "llama_cpp", lone, None))


SAFETENSORS = [
    "chat_template.jinja", "config.json", "merges.txt", "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "modeling_x.py", "tokenizer.model",
]  # fmt: skip


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_other_engines_get_safetensors_and_what_belongs_to_them(engine):
    useless = [
        ".gitattributes", "README.md", "consolidated.safetensors", "model.gguf", "original/model.safetensors",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "onnx/model.onnx", "tf_model.h5",
    ]  # fmt: skip
    assert paths(weights.select(engine, snapshot(*SAFETENSORS, *useless), None).files) == SAFETENSORS


def test_mistrals_own_layout_is_taken_where_it_is_the_only_one():
    alone = snapshot("consolidated.safetensors", "params.json", "tekken.json")
    assert len(weights.select("vllm", alone, None).files) == 3


def test_a_repository_for_another_engine_is_refused_with_that_engine():
    assert "llama_cpp" in str(error_of(weights.select, "tgi", snapshot("a-Q4_K_M.gguf", "config.json"), None))
    assert "has them" in str(error_of(weights.select, "vllm", snapshot("pytorch_model.bin"), None))


@pytest.mark.parametrize(("quant", "made"), [(None, "Q4_K_M"), ("q8_0", "Q8_0"), ("F16", "F16")])
def test_of_safetensors_alone_a_gguf_file_is_made(quant, made):
    found = weights.select("llama_cpp", snapshot(*SAFETENSORS, "README.md"), quant)
    assert (found.quant, found.first_file, paths(found.files)) == (made, f"repo-{made}.gguf", SAFETENSORS)
    assert found.room > 2 * found.size


@pytest.mark.parametrize("quant", ["Q4_KM", "IQ2_XXS", "UD-Q4_K_M"])
def test_what_cannot_be_made_is_answered_with_what_can(quant):
    assert "Q4_K_M" in str(error_of(weights.select, "llama_cpp", snapshot(*SAFETENSORS), quant))


def test_a_repository_with_neither_is_refused():
    assert "neither" in str(error_of(weights.select, "llama_cpp", snapshot("pytorch_model.bin"), None))


def test_a_file_that_only_xet_could_bring_is_refused():
    assert "50 GB" in str(error_of(weights.select, "llama_cpp", snapshot("m-Q4_K_M.gguf 60"), None))


PROJECTORS = snapshot("m-Q4_K_M.gguf 4", "mmproj-m-F32.gguf 3", "mmproj-m-BF16.gguf 2", "sound/m-mmproj-f16.gguf 2")


@pytest.mark.parametrize(
    ("repository", "name", "projector"),
    [
        (PROJECTORS, "auto", "sound/m-mmproj-f16.gguf"),
        (PROJECTORS, "m-mmproj-f16.gguf", "sound/m-mmproj-f16.gguf"),
        (PROJECTORS, "mmproj-m-F32.gguf", "mmproj-m-F32.gguf"),
        (snapshot("m-Q4_K_M.gguf", "mmproj-m.gguf"), "auto", "mmproj-m.gguf"),
        (snapshot("m-Q4_K_M.gguf", "vision.gguf"), "vision.gguf", "vision.gguf"),
    ],
)
def test_a_projector_is_brought_with_the_model(repository, name, projector):
    found = weights.select("llama_cpp", repository, "Q4_K_M", name)
    assert found.first_file == "m-Q4_K_M.gguf" and paths(found.files) == ["m-Q4_K_M.gguf", projector]
    assert found.projector == found.files[1]


def test_without_being_asked_for_there_is_no_projector():
    found = weights.select("llama_cpp", PROJECTORS, None)
    assert found.projector is None and paths(found.files) == ["m-Q4_K_M.gguf"]
    assert weights.select("vllm", snapshot(*SAFETENSORS), None, "auto").projector is None


@pytest.mark.parametrize(
    ("repository", "name", "said"),
    [
        (snapshot("m-Q4_K_M.gguf"), "auto", "no file for llama_cpp_mmproj: auto; no name in it has mmproj"),
        (PROJECTORS, "mmproj.gguf", "one of mmproj-m-F32.gguf (3 GB), mmproj-m-BF16.gguf (2 GB), sound/m-mmproj-f16.gguf (2 GB)"),
        (snapshot("m-Q4_K_M.gguf", "mmproj-a.gguf", "mmproj-b.gguf"), "auto", "several files for llama_cpp_mmproj"),
    ],
)
def test_a_projector_that_is_not_there_or_not_the_only_one(repository, name, said):
    assert said in str(error_of(weights.select, "llama_cpp", repository, "Q4_K_M", name))
