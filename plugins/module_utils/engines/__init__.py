# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engines by the names of their inventory groups."""

from __future__ import annotations

from . import llama_cpp, tgi, vllm

CONTRACTS = {"llama_cpp": llama_cpp.CONTRACT, "tgi": tgi.CONTRACT, "vllm": vllm.CONTRACT}
