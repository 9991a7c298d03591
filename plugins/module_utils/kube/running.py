# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deployment that serves, as the cluster knows it: what it runs, and the way to its endpoint."""

from __future__ import annotations

import re
import socket

from ..errors import UserError
from ..openai import Endpoint
from . import keys
from .apply import INSTANCE, MANAGED_BY, MANAGER, MODEL, SHARE, read_owned
from .client import Kube
from .forward import open_socket, ready_pod
from .kinds import BY_NAME

_SECRET = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD)$")


class Running:
    """A deployment with a ready pod.

    Args:
        name: the deployment.

    Attributes:
        live: its Deployment.
        key: its API key; None where it has none.

    Raises:
        UserError: it is not deployed, stopped, or not ready.
    """

    def __init__(self, kube: Kube, namespace: str, name: str):
        labels = {MANAGED_BY: MANAGER, INSTANCE: name}
        found = read_owned(kube, namespace, labels, (BY_NAME["Deployment"], BY_NAME["Secret"]))
        deployments = [obj for obj in found if obj["kind"] == "Deployment"]
        if not deployments:
            raise UserError(f"{name} is not deployed: run site.yml.")
        self.live = deployments[0]
        if not self.live["spec"]["replicas"]:
            raise UserError(f"{name} is stopped: set llm_replicas to 1, and run site.yml.")
        secret = keys.own(found)
        self.key = keys.read(secret) if secret else None
        self.kube, self.namespace, self.name = kube, namespace, name
        self._pod = ready_pod(kube, namespace, {INSTANCE: name})

    @property
    def container(self) -> dict:
        return self.live["spec"]["template"]["spec"]["containers"][0]

    @property
    def engine(self) -> str:
        """One of CONTRACTS."""
        return self.live["metadata"]["labels"]["app.kubernetes.io/name"].replace("-", "_")

    @property
    def embeds(self) -> bool:
        """Whether it serves embeddings, and completes nothing."""
        return "--embeddings" in self.container.get("args", ())

    def connect(self) -> socket.socket:
        """A connection to its pod's API."""
        return open_socket(self.kube, self.namespace, self._pod, self.container["ports"][0]["containerPort"])

    def endpoint(self, timeout: float = 120) -> Endpoint:
        """The API of its pod."""
        return Endpoint(self.connect, self.name, self.key, timeout)

    def facts(self) -> dict:
        """What decides how fast it is, to be kept beside a measurement; nothing that is named like a secret."""
        annotations = self.live["metadata"].get("annotations", {})
        model, _at, commit = annotations.get(MODEL, "").partition("@")
        literal = {entry["name"]: entry["value"] for entry in self.container.get("env", ()) if "value" in entry}
        return {
            "deployment": self.name,
            "model": model,
            "commit": commit,
            "engine": self.engine,
            "image": self.container["image"],
            "args": self.container.get("args", []),
            "env": {name: value for name, value in literal.items() if not _SECRET.search(name)},
            "share": annotations.get(SHARE, ""),
        }
