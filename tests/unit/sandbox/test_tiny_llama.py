# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiny model of the sandbox's hub; that llama.cpp's own tools take it shows in the sandbox."""

from __future__ import annotations

import hashlib
import json
from math import prod

from tests.sandbox import tiny_llama


def test_its_bytes_are_always_the_same():
    """Its commit, and so what tests name by it, follows from them."""
    weights = tiny_llama.files()["model.safetensors"]
    assert hashlib.sha256(weights).hexdigest() == "68bee7c9378f4035913513f162c7b7b80efa689d25719bd46345646af6bf35cd"


def test_the_header_tells_where_each_tensor_lies():
    data = tiny_llama.files()["model.safetensors"]
    length = int.from_bytes(data[:8], "little")
    end = 0
    for tensor in json.loads(data[8 : 8 + length]).values():
        assert tensor["data_offsets"] == [end, end + 2 * prod(tensor["shape"])]
        end = tensor["data_offsets"][1]
    assert len(data) == 8 + length + end
