# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that whatever works on one live deployment shares."""

    DOCUMENTATION = r"""
options:
  namespace:
    description: The engineer's namespace.
    type: str
    required: true
  instance:
    description: The deployment.
    type: str
    required: true
"""
