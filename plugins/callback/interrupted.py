# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: interrupted
type: notification
short_description: Say what goes on after Ctrl-C, what it costs and how to stop it
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - A run that is interrupted leaves on the cluster and at Exoscale what it had begun. This callback says of each host what that is.
requirements:
  - C(callbacks_enabled = selfhosted.llm.interrupted) in C(ansible.cfg), as in that of this collection.
"""

import atexit

from ansible.plugins.callback import CallbackBase

DEPLOYS = "selfhosted.llm.apply"
PLANS = "selfhosted.llm.plan"
MAKES = ("selfhosted.llm.sks_cluster", "selfhosted.llm.sks_nodepool")


class CallbackModule(CallbackBase):
    """Follows which tasks have begun and not ended."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "selfhosted.llm.interrupted"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._planned: dict[str, dict] = {}
        self._running: dict[str, str] = {}
        atexit.register(self._tell)

    def v2_runner_on_start(self, host, task):
        if task.resolved_action in (DEPLOYS, *MAKES):
            self._running[host.name] = task.resolved_action

    def v2_runner_on_ok(self, result):
        self._running.pop(result.host.name, None)
        if result.task.resolved_action == PLANS:
            self._planned = result.result["deployments"]

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._running.pop(result.host.name, None)

    def v2_playbook_on_stats(self, stats):
        self._running.clear()  # it came to its end

    def _tell(self) -> None:
        for host, action in self._running.items():
            if action in MAKES:
                self._display.warning(
                    f"{host}: what was asked of Exoscale goes on, and costs what its nodes cost. playbooks/platform.yml follows it to its "
                    "end; playbooks/hibernate.yml takes the GPU nodes away, playbooks/teardown.yml everything."
                )
            elif host in self._planned:
                planned = self._planned[host]
                price = planned["slots"] * planned["pool"]["eur_per_slot_hour"]
                self._display.warning(
                    f"{host}: its download and its start go on, and its share of the GPU costs {price:.2f} EUR an hour. "
                    f"playbooks/deploy.yml --limit {host} follows it to its end, and tries it; with -e llm_replicas=0 that stops it."
                )
