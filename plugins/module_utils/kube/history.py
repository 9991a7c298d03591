# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment remembers on its cluster: the last state that worked, one that did not, and which sorts of objects it has had."""

from __future__ import annotations

import hashlib
import json

from ..errors import UserError
from .client import APPLY_PATCH, Kube
from .kinds import BY_NAME

# Beside the desired state, which another manager applies to the same ConfigMap.
MANAGER = "selfhosted.llm/gate"


def name_of(instance: str) -> str:
    """The ConfigMap of a deployment's history."""
    return f"{instance}-state"


def fingerprint(deployment: dict) -> str:
    """Identifies what the pods of a Deployment are made from; desired and live ones differ, as the API server adds defaults."""
    template = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(template.encode()).hexdigest()[:12]


class History:
    """The history of one deployment.

    Args:
        live: its ConfigMap as it is; empty where there is none.

    Attributes:
        passed: the Deployment that last worked, as it was applied; empty where none has.
        failed: the fingerprint of a Deployment that failed since then; empty where none has.
        reason: why it failed.
        kinds: names of the seldom kinds of objects that there were.
    """

    def __init__(self, live: dict):
        data = live.get("data", {})
        self.passed: dict = json.loads(data.get("passed", "{}"))
        self.failed = data.get("failed", "")
        self.reason = data.get("reason", "")
        self.kinds = data.get("kinds", "").split()

    def refuse(self, deployment: dict) -> None:
        """Raise a UserError where this very Deployment failed before."""
        if self.failed == fingerprint(deployment):
            name = deployment["metadata"]["name"]
            raise UserError(
                f"{name}: nothing was written, since this very state failed before: {self.reason.rstrip('.')}. Change the deployment, or "
                "run with -e llm_retry_failed=true to try it again."
            )

    def former(self, deployment: dict) -> dict:
        """The Deployment to go back to from this one; empty where there is no other."""
        return self.passed if self.passed and fingerprint(self.passed) != fingerprint(deployment) else {}

    def has_passed(self, kube: Kube, deployment: dict) -> None:
        """Remember that a Deployment, as it was applied, works."""
        if self.passed != deployment or self.failed:
            self.passed, self.failed, self.reason = deployment, "", ""
            self._write(kube, deployment)

    def has_failed(self, kube: Kube, deployment: dict, reason: str) -> None:
        """Remember that a Deployment, as it was applied, does not work."""
        self.failed, self.reason = fingerprint(deployment), reason
        self._write(kube, deployment)

    def _write(self, kube: Kube, deployment: dict) -> None:
        metadata, kind = deployment["metadata"], BY_NAME["ConfigMap"]
        name = name_of(metadata["name"])
        data = {"passed": json.dumps(self.passed) if self.passed else "", "failed": self.failed, "reason": self.reason}
        body = {
            "apiVersion": kind.api,
            "kind": kind.name,
            "metadata": {"name": name},
            "data": {key: value for key, value in data.items() if value},
        }
        path = kind.path(metadata["namespace"], name)
        kube.request("PATCH", path, body, {"fieldManager": MANAGER, "force": "true"}, APPLY_PATCH)
