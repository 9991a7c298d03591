# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.apply; its documentation is in plugins/modules/apply.py."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import apply
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.desired import DesiredState, Owner
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.gate import Gate
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import ClusterAction, Progress


class ActionModule(ClusterAction):
    """Apply the whole desired state of one owner in one task and one process."""

    argument_spec = {
        "objects": {"type": "list", "elements": "dict", "required": True},
        "namespace": {"type": "str"},
        "instance": {"type": "str", "required": True},
        "engineer": {"type": "str"},
        "prune": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 600},
        "gate": {
            "type": "dict",
            "options": {
                "engine": {"type": "str", "required": True, "choices": list(CONTRACTS)},
                "port": {"type": "int", "required": True},
                "key_secret": {"type": "str", "no_log": False},
                "task": {"type": "str", "default": "chat", "choices": ["chat", "embedding"]},
                "floor": {"type": "float", "default": 0.0},
                "gpu_layers": {"type": "str", "default": "0"},
                "gpu_mib": {"type": "int", "default": 0},
            },
        },
        "retry_failed": {"type": "bool", "default": False},
        "report_dir": {"type": "path", "default": "~/.selfhosted-llm/reports"},
    }

    def execute(self, args: dict, host: str) -> dict:
        check_mode = self._task.check_mode
        owner = Owner(args["instance"], args["engineer"], args["namespace"])
        result: dict = {}
        with self.cluster(args) as kube:
            state = DesiredState(kube, owner, args["objects"], check_mode, Progress(host, args["timeout"]))
            trial = Gate(kube, owner, args["gate"], args["report_dir"]) if args["gate"] else None
            try:
                result["answer"] = state.apply(args["prune"], args["timeout"] if args["wait"] else None, trial, args["retry_failed"])
            except UserError as error:
                result |= {"failed": True, "msg": _told(str(error), state)}
        written = [change for change in state.changes if change.action != "unchanged"]
        result["changed"] = bool(written)
        result["changes"] = [str(change) for change in written]
        result["warnings"] = [f"{change.kind} {change.name}: taken over {field}" for change in written for field in change.taken_over]
        if self._task.diff:
            result["diff"] = [apply.diff(change) for change in written]
        return result


def _told(message: str, state: DesiredState) -> str:
    """A failure that also says what was written before it."""
    if state.check_mode:
        return message
    done = [str(change) for change in state.changes if change.action != "unchanged"]
    return f"{message.rstrip('.')}. Written before this: {', '.join(done) or 'nothing'}; the next run takes up from there."
