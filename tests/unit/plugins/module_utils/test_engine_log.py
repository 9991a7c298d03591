# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import engine_log

# Lines as the pinned versions print them, after their sources.
LLAMA_CPP = """\
0.00.581.120 I load_tensors: offloading 31 repeating layers to GPU
0.00.581.121 I load_tensors: offloaded {} layers to GPU
0.01.016.441 I srv  llama_server: model loaded
"""
NO_GPU = "warning: no usable GPU found, --gpu-layers option will be ignored"
LLAMA_CPP_CUDA = """\
0.00.412.120 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 14315.02 MiB on device 0: cudaMalloc failed: out of memory
0.00.412.130 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 15010380288
0.00.412.214 E llama_model_load: error loading model: unable to allocate CUDA0 buffer
0.00.412.220 E llama_model_load_from_file_impl: failed to load model
0.00.412.322 E srv    load_model: failed to load model, '/models/a.gguf'
0.00.413.001 E srv  llama_server: exiting due to model loading error
"""
TGI = """\
2026-11-28T14:11:09.1Z ERROR warmup{max_input_length=4095}: text_generation_server: CUDA out of memory. Tried to allocate 2 GiB.
2026-11-28T14:11:09.2Z ERROR text_generation_launcher: Shard complete standard error output:
2026-11-28T14:11:09.3Z ERROR text_generation_launcher: Shard 0 failed to start
Error: ShardCannotStart
"""
VLLM = """\
(EngineCore pid=99) ERROR 11-28 14:11:09 [core.py:946] EngineCore failed to start.
(EngineCore pid=99) ValueError: {}
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""


@pytest.mark.parametrize(("layers", "found"), [("31/31", (31, 31)), ("20/31", (20, 31)), ("0/31", (0, 31))])
def test_offloaded_layers_are_read(layers, found):
    assert engine_log.offloaded(LLAMA_CPP.format(layers)) == found


def test_of_several_models_the_last_counts():
    """A draft model or a multimodal projector is loaded beside the model; a log may hold several starts."""
    assert engine_log.offloaded(LLAMA_CPP.format("20/31") + LLAMA_CPP.format("31/31")) == (31, 31)


def test_a_log_that_does_not_say_it_is_told_apart():
    assert engine_log.offloaded("srv  llama_server: model loaded") is None
    assert engine_log.off_gpu("srv  llama_server: model loaded") == ""


def test_layers_off_the_gpu_are_shown_by_their_line():
    assert engine_log.off_gpu(LLAMA_CPP.format("31/31")) == ""
    assert "offloaded 20/31" in engine_log.off_gpu(LLAMA_CPP.format("20/31"))
    assert engine_log.off_gpu(f"x\n{NO_GPU}\ny") == NO_GPU


def test_layers_that_are_not_wanted_on_the_gpu_are_not_missed():
    assert engine_log.off_gpu(LLAMA_CPP.format("20/31"), "20") == engine_log.off_gpu(LLAMA_CPP.format("31/31"), "99") == ""
    assert "offloaded 20/31" in engine_log.off_gpu(LLAMA_CPP.format("20/31"), "21")
    assert engine_log.off_gpu(NO_GPU, "0") == ""


@pytest.mark.parametrize(
    "line",
    [
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        "To serve at least one request with the models's max seq len (8192), (1.0 GiB KV cache is needed, which is larger than the "
        "available KV cache memory (0.5 GiB).",
        "Free memory on device cuda:0 (20.1/44.3 GiB) on startup is less than desired GPU memory utilization (0.92, 40.8 GiB).",
        "CUDA out of memory. Tried to allocate 1.00 GiB.",
    ],
)
def test_vllm_without_gpu_memory_is_told_from_other_ends(line):
    text = VLLM.format(line)
    assert line in engine_log.out_of_gpu_memory(text) and line in engine_log.last_error(text)
    assert engine_log.out_of_gpu_memory(VLLM.format("Unknown model")) == ""


def test_the_first_line_tells_of_llama_cpp_and_tgi():
    assert "allocating 14315.02 MiB on device 0" in engine_log.out_of_gpu_memory(LLAMA_CPP_CUDA)
    assert "Tried to allocate 2 GiB" in engine_log.out_of_gpu_memory(TGI)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LLAMA_CPP_CUDA, "0.00.412.214 E llama_model_load: error loading model: unable to allocate CUDA0 buffer"),
        ("error: invalid argument: --no-such-flag\n", "error: invalid argument: --no-such-flag"),
        ("Traceback (most recent call last):\n  File\nKeyError: 'rope'\n", "KeyError: 'rope'"),
        ("error: unexpected argument '--nope' found\n\nUsage: text-generation-launcher\n", "error: unexpected argument '--nope' found"),
        ("vllm serve: error: unrecognized arguments: --nope\n", "vllm serve: error: unrecognized arguments: --nope"),
        ("loading\nSegmentation fault\n", "Segmentation fault"),
        ("", ""),
    ],
)
def test_the_engines_own_error_line_is_found(text, line):
    assert engine_log.last_error(text) == line


def test_an_end_that_only_says_that_there_was_an_error_is_better_than_nothing():
    assert engine_log.last_error("Error: ShardCannotStart\n") == "Error: ShardCannotStart"
