# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reads a Secret as environment variables, and thus its new value only from the next start on.

These are the download Jobs, whose pods are started anew. Engines read none: they find their weights on their volumes.
"""

from __future__ import annotations

import time

from ..errors import UserError
from . import ready
from .apply import INSTANCE, MANAGED_BY, MANAGER, MODEL, path_of, read_owned
from .client import MERGE_PATCH, Kube, KubeError
from .kinds import BY_NAME, POD

# Seconds for a pod to end: twice Kubernetes' own grace.
LIMIT = 60


def deployed_models(kube: Kube, namespace: str) -> dict[str, str]:
    """The repositories, org/repo, whose models a namespace serves, by deployment."""
    models = {}
    for live in read_owned(kube, namespace, {MANAGED_BY: MANAGER}, (BY_NAME["Deployment"],)):
        if model := live["metadata"].get("annotations", {}).get(MODEL):
            models[live["metadata"]["name"]] = model.partition("@")[0]
    return models


class Readers:
    """The running pods of a namespace that read a Secret as environment variables.

    Args:
        written: when the Secret got its new value, as the API server writes times; pods made later have it. None where that is
            still to come.
        resume: a suspended Job is what an interrupted restart left.

    Attributes:
        restarted, not_restarted: dicts of ``deployment`` (None where it is nobody's), ``why``, and ``pod`` or ``job``
            where there is one.
    """

    def __init__(self, kube: Kube, namespace: str, secret: str, written: str | None, resume: bool):
        self.kube = kube
        self.namespace = namespace
        self.secret = secret
        self.restarted: list[dict] = []
        self.not_restarted: list[dict] = []
        self._stopped: dict[str, dict] = {}  # Jobs to start anew, by uid
        owned = read_owned(kube, namespace, {MANAGED_BY: MANAGER}, (BY_NAME["Job"],))
        jobs = {job["metadata"]["uid"]: job for job in owned if self._reads(job["spec"]["template"]["spec"])}
        pods = [pod for pod in self._running() if self._reads(pod["spec"])]
        for pod in pods:
            name, job = pod["metadata"]["name"], jobs.get(_controller(pod))
            if written and pod["metadata"]["creationTimestamp"] > written:
                self.not_restarted.append(_entry(job or pod, "it was started with the new token", pod=name))
            elif job:
                self._stopped[job["metadata"]["uid"]] = job
                self.restarted.append(_entry(job, "its download was started with the former token", pod=name))
            else:
                why = f"it reads the Secret {secret} and is none of this collection's downloads: restart it yourself"
                self.not_restarted.append(_entry(pod, why, pod=name))
        for uid in [uid for uid in jobs if uid not in map(_controller, pods)]:
            self._without_pod(jobs[uid], resume)
        named = {entry["deployment"] for entry in self.restarted + self.not_restarted}
        self.not_restarted += [
            {"deployment": name, "why": "its weights are on its volume"} for name in deployed_models(kube, namespace) if name not in named
        ]

    def restart(self) -> None:
        """Start the Jobs' pods anew; suspending a Job ends its pods without counting them as failed.

        Raises:
            KubeError: a request is refused.
            UserError: a pod does not end.
        """
        try:
            for job in self._stopped.values():
                if not job["spec"].get("suspend"):
                    self._suspend(job, True)
            # The new pod needs the lock that the old one has on its files.
            end = time.monotonic() + LIMIT
            while left := [pod["metadata"]["name"] for pod in self._running() if _controller(pod) in self._stopped]:
                if time.monotonic() > end:
                    raise UserError(
                        f"The Secret {self.namespace}/{self.secret} holds the new token, but these pods, which have the former one, do "
                        f"not end: {', '.join(left)}. Are their nodes ready? Then run this again."
                    )
                time.sleep(0.5)
        finally:
            for job in self._stopped.values():
                self._suspend(job, False)

    def _without_pod(self, job: dict, resume: bool) -> None:
        if ready.is_complete(job):
            return
        name = job["metadata"]["name"]
        if ready.has_ended(job, "Failed"):
            why = "its download has failed: playbooks/deploy.yml begins it anew, with the new token"
            self.not_restarted.append(_entry(job, why, job=name))
        elif resume and job["spec"].get("suspend"):
            self._stopped[job["metadata"]["uid"]] = job
            self.restarted.append(_entry(job, "an interrupted rotation had stopped its download", job=name))
        else:
            self.not_restarted.append(_entry(job, "its download has no pod now, and begins with the new token", job=name))

    def _running(self) -> list[dict]:
        pods = self.kube.request("GET", POD.path(self.namespace))["items"]
        return [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]

    def _reads(self, spec: dict) -> bool:
        """Whether a pod of this spec reads the Secret as environment variables."""
        containers = [*spec.get("initContainers", ()), *spec["containers"]]
        sources = [source.get("secretRef", {}) for one in containers for source in one.get("envFrom", ())]
        sources += [variable.get("valueFrom", {}).get("secretKeyRef", {}) for one in containers for variable in one.get("env", ())]
        return any(source.get("name") == self.secret for source in sources)

    def _suspend(self, job: dict, suspend: bool) -> None:
        try:
            self.kube.request("PATCH", path_of(job), {"spec": {"suspend": suspend}}, {"fieldManager": MANAGER}, MERGE_PATCH)
        except KubeError as error:
            if error.status != 404:  # somebody removed it meanwhile
                raise


def _controller(obj: dict) -> str | None:
    """The uid of an object's controller."""
    return next((owner["uid"] for owner in obj["metadata"].get("ownerReferences", ()) if owner.get("controller")), None)


def _entry(obj: dict, why: str, **what: str) -> dict:
    return {"deployment": obj["metadata"].get("labels", {}).get(INSTANCE), **what, "why": why}
