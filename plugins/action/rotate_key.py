# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.rotate_key; its documentation is in plugins/modules/rotate_key.py."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import keys, ready
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE, MANAGED_BY, MANAGER, path_of, read_owned
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.desired import Owner
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.gate import Gate
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import GATE, ClusterAction, Progress


class ActionModule(ClusterAction):
    """Give a deployment new API keys and restart it, which is when its engine reads them."""

    argument_spec = {
        "namespace": {"type": "str", "required": True},
        "instance": {"type": "str", "required": True},
        "gate": {"type": "dict", "required": True, "options": GATE},
        "timeout": {"type": "int", "default": 600},
    }

    def execute(self, args: dict, host: str) -> dict:
        owner = Owner(args["instance"], None, args["namespace"])
        with self.cluster(args) as kube:
            if not args["gate"]["key_secret"]:
                raise UserError(f"{host}: it has no API key (llm_api_key is false).")
            secret, colleagues, deployment = _present(kube, owner, args["gate"]["key_secret"])
            names = sorted(other["metadata"]["name"] for other in colleagues)
            result = {"changed": True, "colleagues": names, "restarted": bool(deployment["spec"]["replicas"])}
            if self._task.check_mode:
                return result
            version = keys.rotated(secret, colleagues)
            # The pods last: what is interrupted before is finished by the next run of site.yml, which puts the version onto them.
            for obj in (*colleagues, secret):
                patch = {"data": obj["data"], "metadata": {"annotations": obj["metadata"].get("annotations", {})}}
                kube.request("PATCH", path_of(obj), patch, {"fieldManager": MANAGER}, MERGE_PATCH)
            template = {"metadata": {"annotations": {keys.VERSION: version}}}
            patch = {"spec": {"template": template}}
            deployment |= kube.request("PATCH", path_of(deployment), patch, {"fieldManager": MANAGER}, MERGE_PATCH)
            if result["restarted"]:
                state = ready.wait(kube, deployment, args["timeout"], Progress(host, args["timeout"]))
                if not state.done:
                    raise UserError(f"{host} has new keys, but is not ready with them: {state.text}")
                Gate(kube, owner, args["gate"], "").prove(deployment)
        return result


def _present(kube: Kube, owner: Owner, name: str) -> tuple[dict, list[dict], dict]:
    """The Secret with the keys, those of colleagues, and the Deployment."""
    labels = {MANAGED_BY: MANAGER, INSTANCE: owner.instance}
    found = read_owned(kube, owner.namespace, labels, (BY_NAME["Secret"], BY_NAME["Deployment"]))
    own = [obj for obj in found if obj["metadata"]["name"] == name]
    colleagues = [obj for obj in found if keys.KEY_OF in obj["metadata"].get("annotations", {})]
    deployments = [obj for obj in found if obj["kind"] == "Deployment"]
    if not own or not deployments:
        raise UserError(f"{owner.instance} is not deployed, and has no keys: run playbooks/deploy.yml.")
    return own[0], colleagues, deployments[0]
