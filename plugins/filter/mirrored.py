# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mirrored
short_description: A container image at the mirror of its registry
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Replaces the registry in an image's name, where there is a mirror for it.
options:
  _input:
    description: The image, as Kubernetes takes it. Without a registry it is of V(docker.io).
    type: str
    required: true
  mirrors:
    description: By registry what stands in its place, a registry with or without a path.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where an image comes from
  ansible.builtin.debug:
    msg: "{{ 'ghcr.io/ggml-org/llama.cpp:full-b11434' | selfhosted.llm.mirrored({'ghcr.io': 'mirror.example.org/ghcr'}) }}"
"""

RETURN = r"""
_value:
  description: The image at the mirror, or as it was where its registry has none.
  type: str
  sample: mirror.example.org/ghcr/ggml-org/llama.cpp:full-b11434
"""

DEFAULT = "docker.io"


def mirrored(image: str, mirrors: dict[str, str]) -> str:
    """The image at the mirror of its registry, if that has one."""
    registry, _slash, path = image.partition("/")
    # What has neither a dot nor a port is no host (localhost excepted), but an organisation on Docker Hub.
    if not path or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, path = DEFAULT, image if path else f"library/{image}"
    return f"{mirrors[registry].rstrip('/')}/{path}" if registry in mirrors else image


class FilterModule:
    """The filter selfhosted.llm.mirrored."""

    def filters(self):
        return {"mirrored": mirrored}
