# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that whatever talks to a cluster shares."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description: The kubeconfig file that opens the cluster.
    type: path
    required: true
  context:
    description: Name of a context in it. The current one where not given.
    type: str
"""
