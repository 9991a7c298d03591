# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the questions that are put to a deployment."""

    DOCUMENTATION = r"""
options:
  gate:
    description:
      - What is asked of the Deployment once it is ready, once for each state of its pods; whether it serves the model under the
        deployment's name, answers, has all metrics that dashboards need, and uses the GPU.
    type: dict
    suboptions:
      engine:
        description: The engine, whose table of routes and metrics counts.
        type: str
        choices: [llama_cpp, tgi, vllm]
        required: true
      port:
        description: Port of the pod.
        type: int
        required: true
      key_secret:
        description: Name of the Secret with the API key. The endpoint has none where not given.
        type: str
      task:
        description: What the model does.
        type: str
        choices: [chat, embedding]
        default: chat
      floor:
        description: Tokens per second below which the answer counts as a failure.
        type: float
        default: 0.0
      gpu_layers:
        description: Layers that must be on the GPU by the engine's log, a number or V(all). V(0) looks for none.
        type: str
        default: '0'
"""
