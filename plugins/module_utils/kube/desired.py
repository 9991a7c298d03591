# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole desired state of one owner on a cluster: applied in order, waited for, proved, pruned last."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import NamedTuple

from ..errors import UserError
from . import keys, ready, storage
from .apply import (
    ENGINEER,
    INSTANCE,
    MANAGED_BY,
    MANAGER,
    MODEL,
    Change,
    apply_object,
    delete_object,
    is_applied,
    path_of,
    read,
    read_owned,
)
from .client import Kube, KubeError
from .history import History, name_of
from .kinds import BY_NAME, KINDS

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


class NotReady(KubeError):
    """A workload that does not become ready.

    Attributes:
        crashed: its own container ended; else it may only have lacked time, a quota or an image.
    """

    def __init__(self, message: str, crashed: bool):
        super().__init__(message)
        self.crashed = crashed


class NotServing(UserError):
    """A deployment that is ready but does not do its work, as a sentence."""


class Trial:
    """How a Deployment is tried once it is ready; this one takes readiness for proof."""

    def prove(self, deployment: dict) -> dict:
        """What the live Deployment, which is ready, answered.

        Raises:
            NotServing: it does not do its work.
        """
        return {}

    def keep_evidence(self, deployment: dict, reason: str) -> str:
        """Keep what tells why a live Deployment failed; returns where, as a sentence."""
        return ""


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
        self.objects = [self._owned(obj) for obj in objects]
        self._sort()

    def apply(self, prune: bool, timeout: float | None, trial: Trial | None = None, retry_failed: bool = False) -> dict:
        """Apply, wait until the workloads are ready, try them, then delete what this owner no longer wants.

        A Job is waited for before the workloads after it are applied, so that they find its results; until then the former state
        serves. Without a timeout nothing is waited for, and nothing tried.

        Args:
            prune: this owner's objects that are not wanted are deleted: of an engineer's deployment those in its namespace, of the
                platform's parts all. Volumes and namespaces stay.
            retry_failed: apply a Deployment that failed before.

        Returns:
            What the trial returned; empty where there was none.

        Raises:
            UserError: with the object and the cause; ``changes`` holds what was done before.
        """
        if self.kube is None:
            self.changes = [
                Change(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"], "created", {}, obj, validated=False)
                for obj in self.objects
            ]
            return {}
        owned = self._recall() if prune else self._keys()
        if prune and self.owner.engineer and not retry_failed:
            self._refuse_failed(owned)
        keys.fill(self.objects, owned)
        self._end_strays(owned, timeout)
        for obj in self.objects:
            # Not found by label may still exist without it, so only kinds that were listed and found are known.
            live = owned.pop(path_of(obj), None) or read(self.kube, obj)
            self.changes.append(self._apply(obj, live))
            if obj["kind"] == "Job":
                self._wait(self.changes[-1], timeout)
        answer = {}
        for change in list(self.changes):
            if change.kind == "Deployment" and prune and self.owner.engineer:
                answer = self._try(change, timeout, trial or Trial())
            elif change.kind in ("Deployment", "StatefulSet", "DaemonSet"):
                self._wait(change, timeout)
        # The record, which goes with an owner that wants nothing, goes last: by it an interrupted run is taken up.
        record = path_of(self._record())
        for live in sorted(owned.values(), key=lambda obj: (path_of(obj) == record, -ORDER[obj["kind"]])):
            if live["kind"] not in ("PersistentVolumeClaim", "Namespace"):  # they go only when named
                self.changes.append(delete_object(self.kube, live, self.check_mode))
        return answer

    def _end_strays(self, owned: dict[str, dict], timeout: float | None) -> None:
        """Delete Jobs that still run and are not wanted, as what they hold, a GPU for one, the workloads may need."""
        wanted = {path_of(obj) for obj in self.objects}
        jobs = [path for path, obj in owned.items() if obj["kind"] == "Job" and path not in wanted]
        for live in [owned.pop(path) for path in jobs if not any(ready.has_ended(owned[path], how) for how in ("Complete", "Failed"))]:
            self.changes.append(delete_object(self.kube, live, self.check_mode, "Foreground"))
            end = time.monotonic() + (timeout or 0)
            while not self.check_mode and time.monotonic() < end and read(self.kube, live):
                time.sleep(0.5)

    def _recall(self) -> dict[str, dict]:
        """What this owner has on the cluster, by path; the record of it becomes one of its objects.

        Kinds that few owners have are sought only where this one wants or once had them, as its record tells.
        """
        namespace = self.owner.namespace if self.owner.engineer else None
        record = self._record()
        found = read_owned(self.kube, namespace, self.owner.labels, tuple(kind for kind in KINDS if kind.common))
        owned = {path_of(obj): obj for obj in found}
        self.history = History(owned.get(path_of(record), {}))
        wanted = {obj["kind"] for obj in self.objects}
        seldom = [kind for kind in KINDS if not kind.common and kind.name in wanted.union(self.history.kinds)]
        record["data"] = {"kinds": " ".join(kind.name for kind in seldom)}
        if self.objects:
            self.objects.append(record)
            self._sort()
        for kind in seldom:
            try:
                owned |= {path_of(obj): obj for obj in read_owned(self.kube, namespace, self.owner.labels, (kind,))}
            except KubeError as error:
                if error.status != 404:
                    raise
                if kind.name in wanted:
                    raise KubeError(f"The cluster has no {kind.name} ({kind.api}): what defines it must be installed first.") from None
        return owned

    def _record(self) -> dict:
        return self._owned({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name_of(self.owner.instance)}})

    def _keys(self) -> dict[str, dict]:
        """The live Secrets, by path, of those in which keys are made."""
        return {path_of(obj): live for obj in self.objects if keys.are_made_in(obj) and (live := read(self.kube, obj))}

    def _refuse_failed(self, owned: dict[str, dict]) -> None:
        for obj in self.objects:
            if obj["kind"] == "Deployment" and not is_applied(obj, owned.get(path_of(obj), {})):
                self.history.refuse(obj)

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

    def _sort(self) -> None:
        self.objects.sort(key=lambda obj: ORDER[obj["kind"]])

    def _apply(self, desired: dict, live: dict) -> Change:
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
            raise NotReady(f"{change.kind} {change.namespace}/{change.name} {verb}: {state.text}", state.crashed)

    def _try(self, change: Change, timeout: float | None, trial: Trial) -> dict:
        """Wait for the Deployment and try it; where it fails go back to the state that last worked."""
        desired = next(obj for obj in self.objects if obj["kind"] == "Deployment")
        if self.check_mode or timeout is None or not desired["spec"].get("replicas", 1):
            self._wait(change, timeout)
            return {}
        try:
            self._wait(change, timeout)
            answer = trial.prove(change.after)
        except (NotReady, NotServing) as error:
            said = [str(error), trial.keep_evidence(change.after, str(error))]
            if isinstance(error, NotServing) or error.crashed:
                self.history.has_failed(self.kube, desired, str(error))
            if former := self.history.former(desired):
                said.append(self._go_back(former, timeout))
            raise UserError(" ".join(f"{sentence.rstrip('.')}." for sentence in said if sentence)) from None
        self.history.has_passed(self.kube, desired)
        return answer

    def _go_back(self, former: dict, timeout: float) -> str:
        """Restore the Deployment that last worked; returns a sentence on it."""
        what = former["metadata"].get("annotations", {}).get(MODEL, "")
        try:
            self.changes.append(apply_object(self.kube, former, self.check_mode))
            self._wait(self.changes[-1], timeout)
        except UserError as error:
            return f"The state that last worked ({what}) could not be restored: {error}"
        return f"The state that last worked ({what}) is restored and ready again"


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


def _not_smaller(claim: dict, live: dict) -> dict:
    """A volume claim that asks for at least what it has: claims cannot shrink, and a smaller model needs no less room."""
    wanted, present = (obj["spec"]["resources"]["requests"]["storage"] for obj in (claim, live))
    if storage.bytes_of(present) > storage.bytes_of(wanted):
        claim["spec"]["resources"]["requests"]["storage"] = present
    return claim
