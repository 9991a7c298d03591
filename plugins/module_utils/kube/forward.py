# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reach a pod's port through the API server, without kubectl."""

from __future__ import annotations

import socket

from ..errors import library
from .client import Kube, KubeError, official_login
from .kinds import POD


def ready_pod(kube: Kube, namespace: str, labels: dict[str, str]) -> str:
    """Name of a ready pod with these labels.

    Raises:
        KubeError: there is none.
    """
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    for pod in kube.request("GET", POD.path(namespace), query={"labelSelector": selector})["items"]:
        conditions = {entry["type"]: entry["status"] for entry in pod.get("status", {}).get("conditions", ())}
        if conditions.get("Ready") == "True" and not pod["metadata"].get("deletionTimestamp"):
            return pod["metadata"]["name"]
    raise KubeError(f"No ready pod of {selector} in {namespace}.")


def open_socket(kube: Kube, namespace: str, pod: str, port: int) -> socket.socket:
    """A socket connected to a port of a pod.

    Raises:
        UserError: the API server or the pod refuses, or the library kubernetes is missing.
    """
    client = library("kubernetes.client")
    with official_login(kube.kubeconfig, kube.context) as login:
        api = client.CoreV1Api(client.ApiClient(login))
        try:
            forward = library("kubernetes.stream").portforward(api.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
        except client.ApiException as error:
            said, _sign, _headers = str(error.reason).partition(" -+-+- ")  # of the library's websocket
            raise KubeError(f"Port {port} of pod {namespace}/{pod} cannot be reached: {said}", error.status) from None
    return forward.socket(port)
