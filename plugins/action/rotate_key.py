# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.rotate_key; its documentation is in plugins/modules/rotate_key.py."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import gate, keys, ready
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE, MANAGED_BY, MANAGER, path_of, read_owned
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.running import Running
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import DEPLOYMENT, ClusterAction, Progress


class ActionModule(ClusterAction):
    """Give a deployment new API keys and restart it, which is when its engine reads them."""

    argument_spec = DEPLOYMENT | {"timeout": {"type": "int", "default": 3600}}

    def execute(self, args: dict, host: str) -> dict:
        namespace, name = args["namespace"], args["instance"]
        with self.cluster(args) as kube:
            secret, colleagues, deployment = _present(kube, namespace, name)
            names = sorted(other["metadata"]["name"] for other in colleagues)
            result = {"changed": True, "colleagues": names, "restarted": bool(deployment["spec"]["replicas"])}
            if self._task.check_mode:
                return result
            version = keys.rotated(secret, colleagues)
            # The pods last: what is interrupted before is finished by the next run of site.yml, which puts the version onto them.
            for obj in (*colleagues, secret):
                _patch(kube, obj, {"data": obj["data"], "metadata": {"annotations": obj["metadata"].get("annotations", {})}})
            template = {"metadata": {"annotations": {keys.VERSION: version}}}
            deployment |= _patch(kube, deployment, {"spec": {"template": template}})
            if result["restarted"]:
                state = ready.wait(kube, deployment, args["timeout"], Progress(host, args["timeout"]))
                if not state.done:
                    raise UserError(f"{host} has new keys, but is not ready with them: {state.text}")
                running = Running(kube, namespace, name)
                gate.record(kube, deployment, running.endpoint().embed() if running.embeds else running.endpoint().chat())
        return result


def _present(kube: Kube, namespace: str, name: str) -> tuple[dict, list[dict], dict]:
    """The Secret with the keys, those of colleagues, and the Deployment."""
    found = read_owned(kube, namespace, {MANAGED_BY: MANAGER, INSTANCE: name}, (BY_NAME["Secret"], BY_NAME["Deployment"]))
    own = keys.own(found)
    colleagues = [obj for obj in found if keys.KEY_OF in obj["metadata"].get("annotations", {})]
    deployments = [obj for obj in found if obj["kind"] == "Deployment"]
    if not deployments:
        raise UserError(f"{name} is not deployed: run playbooks/deploy.yml.")
    if not own:
        raise UserError(f"{name} has no API key (llm_api_key is false).")
    return own, colleagues, deployments[0]


def _patch(kube: Kube, obj: dict, patch: dict) -> dict:
    return kube.request("PATCH", path_of(obj), patch, {"fieldManager": MANAGER}, MERGE_PATCH)
