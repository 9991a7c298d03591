# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep what tells why a Deployment failed before its pods are replaced: their states, events and logs, in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime

from ..files import write_private
from .client import Kube, KubeError
from .kinds import EVENT, POD

# Of each log, from its end.
LINES = 1000


def write(kube: Kube, deployment: dict, reason: str, directory: str, hidden: Iterable[str]) -> str:
    """Write the file and return its path.

    Args:
        deployment: the live Deployment.
        reason: why it failed, as a sentence.
        hidden: secrets that an engine may have printed.
    """
    metadata = deployment["metadata"]
    now = datetime.now(UTC)
    path = os.path.join(os.path.expanduser(directory), f"{metadata['name']}-{now:%Y%m%d-%H%M%S}.txt")
    parts = [f"{metadata['namespace']}/{metadata['name']}, {now:%Y-%m-%d %H:%M:%S} UTC\n{reason}"]
    selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    for pod in kube.request("GET", POD.path(metadata["namespace"]), query={"labelSelector": selector})["items"]:
        parts += _pod(kube, pod)
    text = "\n\n".join(parts) + "\n"
    for secret in hidden:
        text = text.replace(secret, "(hidden)")
    write_private(path, text)
    return path


def _pod(kube: Kube, pod: dict) -> list[str]:
    """What is to be known of a pod, a text for each part."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    parts = [f"== Pod {name}: state\n{json.dumps(pod.get('status', {}), indent=1)}"]
    events = kube.request("GET", EVENT.path(namespace), query={"fieldSelector": f"involvedObject.name={name}"})["items"]
    lines = [f"{event.get('lastTimestamp') or event.get('eventTime')} {event['reason']}: {event.get('message', '')}" for event in events]
    parts.append(f"== Pod {name}: events\n" + "\n".join(lines))
    for previous in ("true", "false"):
        try:
            log = kube.text(POD.path(namespace, name) + "/log", {"tailLines": LINES, "previous": previous})
        except KubeError:
            continue  # it has not started, or only once
        parts.append(f"== Pod {name}: log{' of its run before' if previous == 'true' else ''}\n{log.rstrip()}")
    return parts
