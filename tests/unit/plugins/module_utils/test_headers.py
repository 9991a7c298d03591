# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import headers, hub
from ansible_collections.selfhosted.llm.plugins.module_utils.fit import safetensors
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.model import Model, ModelError

from .fit.shapes import checkpoint, gguf_header, gguf_values, safetensors_header

REPO = "org/big"


@pytest.fixture
def publish(hub_server, hub_module):
    """Put a file of any size into the repository: the bytes given, and zeros that neither disk nor hash ever sees."""

    def put(name: str, data: bytes, size: int | None = None) -> None:
        place = hub_server.tree.root / REPO / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(data)
            file.truncate(size or len(data))
        state = place.stat()
        digest = f"{state.st_size:064x}"
        file = hub_module.File(place, state.st_size, digest, digest[:40], name != "config.json")
        hub_server.tree._files[place, state.st_size, state.st_mtime_ns] = file

    return put


@pytest.fixture
def read(hub_server, tmp_path):
    """Read the repository; returns the model, and the bytes that the hub sent for it."""

    def run() -> tuple[Model, int]:
        question = hub.Question(hub_server.url, None, REPO, "main")
        found = hub.resolve(*question)
        hub_server.forget()
        model = headers.read(question, found.commit, found.files, str(tmp_path / "cache"))
        return model, hub_server.calls()["repositories"].get(REPO, {"bytes": 0})["bytes"]

    return run


def as_files(name: str, parts: int, layers: int | None = None) -> tuple[bytes, list[tuple[bytes, int]]]:
    """The config.json of a published model, and the headers and sizes of its safetensors files."""
    config, tensors = checkpoint(name, layers)
    names = list(tensors)
    return config, [safetensors_header({name: tensors[name] for name in names[part::parts]}) for part in range(parts)]


def whole(name: str, layers: int | None = None) -> Model:
    config, tensors = checkpoint(name, layers)
    return safetensors.model(config, [tensors])


def test_a_model_of_40_gb_costs_less_than_4_mib(publish, read):
    expected = safetensors.as_gguf(whole("Llama-3.1-70B"), "Q4_K_M")
    words = [f"{number:x}" * 2 for number in range(280_000)]
    values = gguf_values(expected, words[:128_256]) | {"tokenizer.ggml.merges": words, "general.file_type": 15}
    data, size = gguf_header(values, expected.tensors)
    publish("big-Q4_K_M.gguf", data, size)
    model, count = read()
    assert model == expected and size > 40e9 and count < 4 << 20
    assert read() == (model, 0)


@pytest.mark.parametrize(("name", "parts"), [("Llama-3.1-70B", 30), ("Qwen3-30B-A3B", 16), ("gpt-oss-20b", 3)])
def test_safetensors_of_any_size_cost_their_headers(publish, read, name, parts):
    config, files = as_files(name, parts)
    publish("config.json", config)
    publish("tokenizer.json", b"{}")
    for number, (data, size) in enumerate(files):
        publish(f"model-{number + 1:05}-of-{parts:05}.safetensors", data, size)
    model, count = read()
    assert model._replace(tensors=()) == whole(name)._replace(tensors=()) and sorted(model.tensors) == sorted(whole(name).tensors)
    assert count <= sum(max(len(data), safetensors.FIRST) for data, _ in files) + len(config) < 4 << 20
    assert read() == (model, 0)


def test_a_split_file_is_read_in_its_order(publish, read, tmp_path):
    expected = safetensors.as_gguf(whole("gemma-2-9b", 2), "Q8_0")
    for number, tensors in enumerate((expected.tensors[:9], expected.tensors[9:])):
        values = (gguf_values(expected) if number == 0 else {}) | {"split.count": 2, "split.no": number}
        publish(f"big-{number + 1:05}-of-00002.gguf", *gguf_header(values, tensors))
    assert read()[0] == headers.read_local(str(tmp_path / f"hub/{REPO}/big-00001-of-00002.gguf")) == expected._replace(vocabulary=2)
    os.unlink(tmp_path / f"hub/{REPO}/big-00002-of-00002.gguf")
    with pytest.raises(ModelError, match="big-00002-of-00002.gguf cannot be read: No such file"):
        headers.read_local(str(tmp_path / f"hub/{REPO}/big-00001-of-00002.gguf"))


def test_a_directory_of_safetensors_is_a_model(tmp_path):
    config, [(data, size)] = as_files("Mistral-7B", 1, layers=1)
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(ModelError, match="no GGUF file, and there are no safetensors files with a config.json"):
        headers.read_local(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=r"model.safetensors: Its tensor .* not downloaded to its end"):
        headers.read_local(str(tmp_path))
    os.truncate(tmp_path / "model.safetensors", size)
    (tmp_path / "consolidated.safetensors").write_bytes(b"")
    assert headers.read_local(str(tmp_path)) == whole("Mistral-7B", 1)


@pytest.fixture
def small(publish):
    """The repository has a small model."""
    config, [(data, size)] = as_files("Qwen3-8B", 1, layers=1)
    publish("config.json", config)
    publish("model.safetensors", data, size)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"{\"key\": 1}", None])
def test_a_cache_with_something_else_is_read_anew(small, read, tmp_path, content):
    model, count = read()
    [place] = (tmp_path / "cache").iterdir()
    stored = json.loads(place.read_text())
    place.write_bytes(json.dumps(stored | {"model": stored["model"][1:]}).encode() if content is None else content)
    assert read() == (model, count) and read() == (model, 0)
    assert place.stat().st_mode & 0o777 == 0o600


def test_a_cache_that_cannot_be_written_only_costs_time(small, read, tmp_path):
    (tmp_path / "cache").write_text("a file where a directory should be")
    assert read() == read() and read()[1] > 0


def test_what_changed_is_read_anew(small, publish, read):
    read()
    config, [(data, size)] = as_files("Qwen3-8B", 1, layers=2)
    publish("config.json", config)
    publish("model.safetensors", data, size)
    assert read()[0].layers == 2


def test_runs_at_the_same_time_share_a_cache(small, read, tmp_path):
    with ThreadPoolExecutor(8) as threads:
        models = [model for model, _ in threads.map(lambda _: read(), range(16))]
    assert set(models) == {whole("Qwen3-8B", 1)} and len(list((tmp_path / "cache").iterdir())) == 1


def test_fifty_models_of_a_cache_ask_the_hub_for_nothing(publish, hub_server, tmp_path):
    config, files = as_files("Llama-3.1-70B", 1)
    publish("config.json", config)
    publish("model.safetensors", *files[0])
    question = hub.Question(hub_server.url, None, REPO, "main")
    found = hub.resolve(*question)
    headers.read(question, found.commit, found.files, str(tmp_path / "cache"))
    asked = hub_server.calls()
    for _ in range(50):
        headers.read(question, found.commit, found.files, str(tmp_path / "cache"))
    assert hub_server.calls() == asked


def test_a_broken_file_of_the_hub_is_named(publish, read):
    publish("big-Q4_K_M.gguf", b"GGUF\3\0\0\0" + b"\xff" * 100)
    with pytest.raises(ModelError, match=re.escape(f"{REPO}: big-Q4_K_M.gguf: It claims")):
        read()


@pytest.mark.parametrize("name", ["big-Q4_K_M.GGUF", "model.safetensors", "config.json"])
def test_an_empty_file_of_the_hub_is_named(small, publish, read, name):
    publish(name, b"")
    with pytest.raises(ModelError, match=f"{name}.* is no"):
        read()


def test_a_hub_that_fails_is_told_as_it_is_elsewhere(small, hub_server, read):
    hub_server.faults.append({"path": "*/resolve/*", "truncate": 5})
    with pytest.raises(hub.HubError) as caught:
        read()
    assert caught.value.kind == "unreachable"
    hub_server.faults[:] = [{"path": "*/resolve/*", "status": 403}]
    with pytest.raises(hub.HubError) as caught:
        read()
    assert caught.value.kind == "no_right"
