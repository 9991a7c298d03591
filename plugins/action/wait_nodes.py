# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.wait_nodes; its documentation is in plugins/modules/wait_nodes.py."""

from __future__ import annotations

import time

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_causes import diagnose, tell
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.gpu_nodes import examine
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress


class ActionModule(ClusterAction):
    """Wait until the nodes of GPU pools are ready and advertise their GPUs; else say why they do not."""

    argument_spec = {
        "pools": {"type": "list", "elements": "dict", "required": True},
        "timeout": {"type": "int", "default": 600},
    }

    def execute(self, args: dict, host: str) -> dict:
        records = list(filter(None, map(pool_record, args["pools"])))
        report, start = Progress(host, args["timeout"]), time.monotonic()
        with self.cluster(args) as kube:
            # No cause ends it early: a driver may still be on its way, and a plugin is started again and again.
            while not self._task.check_mode and (findings := list(filter(None, map(diagnose, examine(kube, records))))):
                elapsed = time.monotonic() - start
                if elapsed > args["timeout"]:
                    raise UserError(f"After {args['timeout']} s the GPU nodes are not prepared. {tell(findings)}")
                report(tell(findings), elapsed)
                time.sleep(2)
        return {"changed": False}
