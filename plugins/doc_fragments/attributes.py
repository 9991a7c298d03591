# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What a module or action promises; each states its own support."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and returns changed status without changing anything.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check mode, in diff mode.
    support: none
"""

    ACTION = r"""
attributes:
  action:
    description: Runs on the control node, in Ansible's own process.
    support: full
"""
