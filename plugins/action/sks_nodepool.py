# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action around the module selfhosted.llm.sks_nodepool."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ExoscaleAction


class ActionModule(ExoscaleAction):
    """Run the module, and say while it waits."""

    what = "node pool"
