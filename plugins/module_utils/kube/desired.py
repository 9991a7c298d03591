# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole desired state of one owner on a cluster: applied in order, waited for, pruned last."""

from __future__ import annotations

import base64
import copy
import secrets
from collections.abc import Callable
from typing import NamedTuple

from . import ready, storage
from .apply import ENGINEER, INSTANCE, MANAGED_BY, MANAGER, Change, apply_object, delete_object, read, read_owned
from .client import Kube, KubeError
from .kinds import BY_NAME, KINDS

# A Secret with this annotation gets a random value under the key it names; one that exists keeps its value.
GENERATE = "selfhosted.llm/generate"

ORDER = {kind.name: index for index, kind in enumerate(KINDS)}


class Owner(NamedTuple):
    """Whose objects these are.

    Attributes:
        instance: the deployment (inventory host), or the role for what the platform owns.
        engineer: the engineer's name; None for the platform.
        namespace: where namespaced objects go unless they say otherwise.
    """

    instance: str
    engineer: str | None
    namespace: str | None

    @property
    def labels(self) -> dict[str, str]:
        """Labels on every object of this owner, and the selector that finds them again."""
        labels = {MANAGED_BY: MANAGER, INSTANCE: self.instance}
        return labels | ({ENGINEER: self.engineer} if self.engineer else {})


class DesiredState:
    """Bring the objects of one owner to their desired state.

    Args:
        kube: the cluster, or None in check mode where it does not exist yet.
        objects: Kubernetes objects; owner labels and the namespace are added.
        report: gets a text and elapsed seconds while something is waited for.

    Attributes:
        changes: what was done so far, also after an error.
    """

    def __init__(
        self, kube: Kube | None, owner: Owner, objects: list[dict], check_mode: bool, report: Callable[[str, float], None]
    ):
        self.kube = kube
        self.owner = owner
        self.check_mode = check_mode
        self.report = report
        self.changes: list[Change] = []
        self.objects = sorted((self._owned(obj) for obj in objects), key=lambda obj: ORDER[obj["kind"]])

    def apply(self, prune: bool, timeout: float | None) -> None:
        """Apply, wait until the workloads are ready, then delete what this owner no longer wants.

        A Job is waited for before the workloads after it are applied, so that they find its results. Without a timeout
        nothing is waited for.

        Raises:
            KubeError: with the object and the cause; ``changes`` holds what was done before.
        """
        if self.kube is None:
            self.changes = [
                Change(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"], "created", {}, obj, validated=False)
                for obj in self.objects
            ]
            return
        owned = {}
        if prune:
            owned = {_key(obj): obj for obj in read_owned(self.kube, self.owner.namespace, self.owner.labels)}
        for obj in self.objects:
            # Not found by label may still exist without it, so only kinds that were listed and found are known.
            live = owned.pop(_key(obj), None) or read(self.kube, obj)
            self.changes.append(self._apply(obj, live))
            if obj["kind"] == "Job":
                self._wait(self.changes[-1], timeout)
        for change in list(self.changes):
            if change.kind in ("Deployment", "DaemonSet"):
                self._wait(change, timeout)
        for live in sorted(owned.values(), key=lambda obj: -ORDER[obj["kind"]]):
            if live["kind"] != "PersistentVolumeClaim":  # volumes go only when named
                self.changes.append(delete_object(self.kube, live, self.check_mode))

    def _owned(self, obj: dict) -> dict:
        obj = copy.deepcopy(obj)
        kind = BY_NAME.get(obj.get("kind", ""))
        if kind is None or obj.get("apiVersion") != kind.api:
            raise KubeError(f"{obj.get('apiVersion')} {obj.get('kind')} is not among the kinds this collection writes (kube/kinds.py).")
        for container in _containers(obj):
            _as_text(container)
        metadata = obj["metadata"]
        metadata["labels"] = self.owner.labels | metadata.get("labels", {})  # what several deployments share says so itself
        if kind.namespaced:
            metadata.setdefault("namespace", self.owner.namespace)
        return obj

    def _apply(self, desired: dict, live: dict) -> Change:
        if desired["kind"] == "Secret" and (name := desired["metadata"].get("annotations", {}).get(GENERATE)):
            value = live.get("data", {}).get(name)
            if not value and not self.check_mode:
                value = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
            desired["data"] = {name: value} if value else {}
        if desired["kind"] == "PersistentVolumeClaim" and live:
            desired = _not_smaller(desired, live)
        if desired["kind"] == "Job" and live and ready.state(self.kube, live).failed and not self.check_mode:
            delete_object(self.kube, live, self.check_mode)
            live = {}
        return apply_object(self.kube, desired, self.check_mode, live)

    def _wait(self, change: Change, timeout: float | None) -> None:
        if self.check_mode or timeout is None:
            return
        state = ready.wait(self.kube, change.after, timeout, self.report)
        if not state.done:
            verb = "failed" if state.failed else f"is not ready after {timeout:.0f} s"
            raise KubeError(f"{change.kind} {change.namespace}/{change.name} {verb}: {state.text}")


def _containers(obj: dict) -> list[dict]:
    """The containers of a workload; none for other objects."""
    pod = obj.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]


def _as_text(container: dict) -> None:
    """Write arguments and environment values as text, which Kubernetes insists on and templates forget."""

    def text(value) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    for key in ("command", "args"):
        if key in container:
            container[key] = [text(value) for value in container[key]]
    for variable in container.get("env", ()):
        if "value" in variable:
            variable["value"] = text(variable["value"])


def _key(obj: dict) -> tuple[str, str | None, str]:
    return obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]


def _not_smaller(claim: dict, live: dict) -> dict:
    """A volume claim that asks for at least what it has: claims cannot shrink, and a smaller model needs no less room."""
    wanted, present = (obj["spec"]["resources"]["requests"]["storage"] for obj in (claim, live))
    if storage.bytes_of(present) > storage.bytes_of(wanted):
        claim["spec"]["resources"]["requests"]["storage"] = present
    return claim
