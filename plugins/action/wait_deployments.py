# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.wait_deployments; its documentation is in plugins/modules/wait_deployments.py."""

from __future__ import annotations

import time

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import ready
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import ENGINEER, INSTANCE, MANAGED_BY, MANAGER
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress


class ActionModule(ClusterAction):
    """Wait until all engineers' deployments are ready, whichever inventory they come from."""

    argument_spec = {"timeout": {"type": "int", "default": 1200}}

    def execute(self, args: dict, host: str) -> dict:
        report, end = Progress(host, args["timeout"]), time.monotonic() + args["timeout"]
        waited, failed = [], []
        with self.cluster(args) as kube:
            if self._task.check_mode:
                return {"changed": False, "deployments": waited}
            query = {"labelSelector": f"{MANAGED_BY}={MANAGER},{ENGINEER}"}
            for item in kube.request("GET", BY_NAME["Deployment"].path(), query=query)["items"]:
                live = {"apiVersion": BY_NAME["Deployment"].api, "kind": "Deployment", **item}
                name = live["metadata"]["labels"][INSTANCE]
                if not live["spec"]["replicas"]:
                    continue
                waited.append(name)
                left = max(end - time.monotonic(), 0)
                state = ready.wait(kube, live, left, lambda text, elapsed, name=name: report(f"{name}: {text}", elapsed))
                if not state.done:
                    failed.append(f"{name} ({state.text})")
        if failed:
            raise UserError(f"Not all deployments are ready: {'; '.join(failed)}.")
        return {"changed": False, "deployments": waited}
