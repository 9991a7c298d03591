# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.filter.mirrored import mirrored

MIRRORS = {"docker.io": "mirror.example.org/hub/", "ghcr.io": "mirror.example.org", "registry:5000": "other"}


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("busybox", "mirror.example.org/hub/library/busybox"),
        ("busybox:1.35@sha256:00", "mirror.example.org/hub/library/busybox:1.35@sha256:00"),
        ("vllm/vllm-openai:v0.31.0", "mirror.example.org/hub/vllm/vllm-openai:v0.31.0"),
        ("docker.io/vllm/vllm-openai", "mirror.example.org/hub/vllm/vllm-openai"),
        ("ghcr.io/ggml-org/llama.cpp:full", "mirror.example.org/ggml-org/llama.cpp:full"),
        ("registry:5000/a/b", "other/a/b"),
        ("quay.io/prometheus/prometheus", "quay.io/prometheus/prometheus"),
        ("localhost/tgi:sandbox", "localhost/tgi:sandbox"),
    ],
)
def test_an_image_is_taken_from_the_mirror_of_its_registry(image, there):
    assert mirrored(image, MIRRORS) == there
    assert mirrored(image, {}) == image
