# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that whatever asks the Hugging Face hub shares."""

    DOCUMENTATION = r"""
options:
  token:
    description: The token. Where not given, E(HF_TOKEN), else the file that C(hf auth login) writes, else none.
    type: str
  endpoint:
    description: Address of the hub.
    type: str
    default: https://huggingface.co
requirements:
  - huggingface_hub
"""
