# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.fit import safetensors

from .shapes import checkpoint

NAMES = {"1B": "Llama-3.2-1B", "8B": "Llama-3.1-8B", "70B": "Llama-3.1-70B", "30B-A3B": "Qwen3-30B-A3B", "9B": "gemma-2-9b"}


@pytest.fixture(scope="session")
def models():
    """Published models by a short name, as their safetensors files have them."""
    checkpoints = {short: checkpoint(name) for short, name in NAMES.items()}
    return {short: safetensors.model(config, [tensors]) for short, (config, tensors) in checkpoints.items()}


@pytest.fixture(scope="session")
def quantised(models):
    """The GGUF form of one of them."""
    return lambda name, quant: safetensors.as_gguf(models[name], quant)
