# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic for llama-server against what was measured on GPUs (tests/fit/measured.csv)."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import statistics
import sys
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import headers
from ansible_collections.selfhosted.llm.plugins.module_utils.fit import gguf, llama_cpp, verdict
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.model import Model, ModelError, Tensor

FIT = Path(__file__).parents[4] / "fit"
MIB = 1 << 20
FREE = 81079 * MIB  # of each card there, before a server starts


def _load():
    """tests/fit/models.py, the shapes that were measured."""
    spec = importlib.util.spec_from_file_location("measured_models", FIT / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MODELS = _load()
ROWS = [row for row in csv.DictReader(line for line in (FIT / "measured.csv").open() if not line.startswith("#")) if not row["error"]]
PLANNED = [row for row in ROWS if row["sm"] != "tensor"]


def model_of(name: str) -> Model:
    """A measured model, by the name of its file without suffix."""
    shape, quant = MODELS.SHAPES[name.rpartition("-")[0]], name.rpartition("-")[2]
    window, sliding = gguf.slides(shape.arch, shape.layers, shape.window or None)
    inner = next((value for key, value in shape.metadata.items() if key.endswith("expert_feed_forward_length")), shape.feed_forward)
    each = [(value,) * shape.layers for value in (shape.heads, shape.heads_kv, 0 if shape.experts else shape.feed_forward)]
    return Model(
        shape.arch, shape.layers, shape.embedding, each[0], each[1], shape.head, shape.head, each[2], shape.experts, shape.experts_used,
        inner if shape.experts else 0, shape.vocabulary, shape.context, window, sliding, "",
        tuple(Tensor(tensor, size, MODELS.tensor_type(shape, quant, tensor)) for tensor, size in MODELS.tensors(shape)),
    )  # fmt: skip


def options_of(row: dict) -> llama_cpp.Options:
    return llama_cpp.Options(
        ctx=int(row["ctx"]),
        np=int(row["np"] or 4),  # the server's own choice, with one cache for all
        kv_unified=row["kvu"] == "True" or not row["np"],
        ngl=None if int(row["ngl"]) > 900 else int(row["ngl"]),
        ctk=row["ctk"],
        ctv=row["ctv"],
        fa=row["fa"] != "off",
        ubatch=int(row["ub"]),
        split_mode=row["sm"],
        tensor_split=tuple(map(float, row["ts"].split(","))) if row["ts"] else (),
    )


def errors(row: dict) -> list[tuple[float, float]]:
    """For each GPU that is used, MiB measured and MiB too many that the arithmetic says."""
    estimate = llama_cpp.estimate(model_of(row["model"]), options_of(row), (FREE,) * int(row["gpus"]))
    gpus = range(1 if row["sm"] == "none" else len(estimate))
    measured = [float(row[f"gpu{gpu}_long"]) for gpu in gpus]
    return [(size, (estimate[gpu].total - estimate[gpu].margin) / MIB - size) for gpu, size in zip(gpus, measured, strict=True)]


def is_partial(row: dict) -> bool:
    return int(row["ngl"]) <= MODELS.SHAPES[row["model"].rpartition("-")[0]].layers


def test_two_who_fit_half_a_card_each_share_it_in_fact():
    """Two servers that loaded and answered side by side in an A40's memory, and two of which one did not fit any more."""
    measured = json.loads((FIT.parent / "recorded/llama_cpp/co_tenants.json").read_text())["runs"]
    for run, foretold in zip(measured, ("fits", "no"), strict=True):
        place = verdict.Place("A40", (run["free_mib"] // 2 * MIB,))
        options = llama_cpp.Options(ctx=run["context"] * run["slots"], np=run["slots"])
        need = verdict.Need("llama_cpp", model_of("llama-3.1-8b-Q4_K_M"), options, place)
        fit = all(tenant["ready"] for tenant in run["tenants"].values())
        assert verdict.judge(need).verdict == foretold == ("fits" if fit else "no")
        foreseen = llama_cpp.estimate(need.model, options, place.free)[0]
        served = [tenant for tenant in run["tenants"].values() if tenant["answers"] == [200] * run["slots"]]
        for tenant in served:
            assert tenant["prompt_tokens"] == [pytest.approx(run["context"], rel=0.01)] * run["slots"]
            assert 0 <= (foreseen.total - foreseen.margin) / MIB - tenant["peak_mib"] < 16
        assert sum(tenant["peak_mib"] for tenant in served) <= run["free_mib"] and len(served) == 1 + fit


def test_what_was_measured_is_enough():
    assert len(PLANNED) >= 60 and len({row["model"].rpartition("-")[0] for row in PLANNED}) >= 10


@pytest.mark.parametrize(
    ("rows", "bar"),
    [
        ([row for row in PLANNED if row["gpus"] == "1" and not is_partial(row)], 0.5),
        ([row for row in PLANNED if row["gpus"] == "1" and is_partial(row)], 3),
        ([row for row in PLANNED if row["gpus"] == "2"], 3),
    ],
    ids=["one GPU", "partial offload", "two GPUs"],
)
def test_the_mean_error(rows, bar):
    assert len(rows) > 10
    assert statistics.mean(abs(error) / size * 100 for row in rows for size, error in errors(row)) <= bar


def named(row: dict) -> str:
    return " ".join(filter(None, map(row.get, ("model", "gpus", "ctx", "np", "ngl", "ctk", "fa", "ub"))))


@pytest.mark.parametrize("row", PLANNED, ids=named)
def test_each_row(row):
    for size, error in errors(row):
        assert error > -200 and abs(error) / size < 0.03


@pytest.mark.parametrize("row", PLANNED, ids=named)
def test_the_servers_own_figures(row):
    """Its log says what the weights and the cache take, with MiB of two decimals."""
    for gpu, parts in enumerate(llama_cpp.estimate(model_of(row["model"]), options_of(row), (FREE,) * int(row["gpus"]))):
        assert parts.weights / MIB == pytest.approx(float(row[f"gpu{gpu}_model"] or 0), abs=0.1)
        assert parts.kv / MIB == pytest.approx(float(row[f"gpu{gpu}_kv"] or 0), abs=0.1)


@pytest.mark.parametrize("name", ["llama-3.2-1b-Q4_0", "gemma-3-4b-Q4_0", "gpt-oss-20b-MXFP4"])
def test_a_file_of_the_shape_is_read_as_the_same_model(name, tmp_path):
    MODELS.write(tmp_path / "model.gguf", MODELS.SHAPES[name.rpartition("-")[0]], name.rpartition("-")[2])
    read, made = headers.read_local(str(tmp_path / "model.gguf")), model_of(name)
    assert read._replace(tensors=()) == made._replace(tensors=()) and set(read.tensors) == set(made.tensors)


def test_more_never_takes_less():
    rng = random.Random(1)
    for _case in range(300):
        model = model_of(rng.choice(PLANNED)["model"])
        fewer = llama_cpp.Options(rng.choice((2048, 8192, 30000)), rng.choice((1, 4)), rng.random() < 0.5, fa=rng.random() < 0.8)
        for more in (fewer._replace(ctx=fewer.ctx * 2), fewer._replace(ubatch=1024)):
            few, many = (llama_cpp.estimate(model, options, (FREE,))[0].total for options in (fewer, more))
            assert many >= few, (fewer, more)


def test_the_first_gpu_has_the_projector():
    model, options = model_of("llama-3.2-1b-Q4_0"), llama_cpp.Options()
    without, with_one = (llama_cpp.estimate(model, options._replace(mmproj=size), (FREE, FREE)) for size in (0, 600 * MIB))
    assert [after.total - before.total for before, after in zip(without, with_one, strict=True)] == [600 * MIB, 0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ctk": "q9"}, "ctk"),
        ({"ctv": "q8_0", "fa": False}, "flash attention"),
        ({"split_mode": "row"}, "row"),
        ({"tensor_split": (1.0,)}, "2 GPUs"),
    ],
)
def test_what_llama_cpp_does_not_take(options, says):
    with pytest.raises(ModelError, match=says):
        llama_cpp.estimate(model_of("llama-3.2-1b-Q4_0"), llama_cpp.Options(**options), (FREE, FREE))
