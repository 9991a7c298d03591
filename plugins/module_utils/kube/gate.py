# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove a deployment by asking its real endpoint, once for each state of its pods."""

from __future__ import annotations

import base64
import hashlib
import json

from ..errors import UserError
from ..openai import Endpoint
from .apply import INSTANCE
from .client import APPLY_PATCH, Kube
from .desired import Owner
from .forward import open_socket, ready_pod
from .kinds import BY_NAME

# On the Deployment: the pod template that answered, and how fast.
ANSWERED = "selfhosted.llm/answered"
MANAGER = "selfhosted.llm/gate"


class GateError(UserError):
    """A deployment that is ready but does not serve, as a sentence."""


def recorded(deployment: dict) -> dict:
    """The answer recorded for the Deployment's present pods: seconds, tokens_per_second; empty if they were not asked."""
    record = json.loads(deployment["metadata"].get("annotations", {}).get(ANSWERED, "{}"))
    return record if record.get("template") == _fingerprint(deployment) else {}


class Gate:
    """The question put to one deployment.

    Args:
        options: ``port`` of the pod, ``key_secret`` and ``key_name`` of the Secret with the API key, ``floor`` in tokens per second.
    """

    def __init__(self, kube: Kube, owner: Owner, options: dict):
        self.kube = kube
        self.owner = owner
        self.options = options

    def passed(self, deployment: dict) -> dict:
        """Ask unless these very pods were asked before; return the recorded answer, empty where nothing runs.

        Args:
            deployment: the live Deployment, ready.

        Raises:
            GateError: the endpoint does not serve the model under the deployment's name, or slower than it must.
        """
        if not deployment["spec"].get("replicas"):
            return {}
        if record := recorded(deployment):
            return record
        secret = self.kube.request("GET", BY_NAME["Secret"].path(self.owner.namespace, self.options["key_secret"]))
        key = base64.b64decode(secret["data"][self.options["key_name"]]).decode()
        try:
            pod = ready_pod(self.kube, self.owner.namespace, {INSTANCE: self.owner.instance})
            port = self.options["port"]
            answer = Endpoint(lambda: open_socket(self.kube, self.owner.namespace, pod, port), self.owner.instance, key).chat()
        except UserError as error:
            raise GateError(f"{self.owner.instance} is up but does not serve: {error}.") from None
        if answer.tokens_per_second < self.options["floor"]:
            raise GateError(
                f"{self.owner.instance} is up but slow: it answered with {answer.tokens_per_second:.1f} tokens a second, where "
                f"{self.options['floor']:.1f} is the least (llm_gate_floor). Does its engine use the GPU?"
            )
        record = {
            "template": _fingerprint(deployment),
            "seconds": round(answer.seconds, 2),
            "tokens_per_second": round(answer.tokens_per_second, 1),
        }
        self._record(record)
        return record

    def _record(self, record: dict) -> None:
        # A field manager of its own, so that applying the deployment neither removes nor compares it.
        body = {
            "apiVersion": BY_NAME["Deployment"].api,
            "kind": "Deployment",
            "metadata": {"name": self.owner.instance, "annotations": {ANSWERED: json.dumps(record)}},
        }
        path = BY_NAME["Deployment"].path(self.owner.namespace, self.owner.instance)
        self.kube.request("PATCH", path, body, {"fieldManager": MANAGER, "force": "true"}, APPLY_PATCH)


def _fingerprint(deployment: dict) -> str:
    """Identifies what the pods are made from; the same after a restart of the same state."""
    template = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(template.encode()).hexdigest()[:12]
