# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read from a cluster what tells why deployments are not up, with no more rights than their engineer has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from ..doctor.evidence import Evidence
from ..openai import Endpoint, EndpointError
from . import keys
from .apply import INSTANCE, MANAGED_BY, MANAGER, read_owned
from .client import Kube, KubeError
from .forward import open_socket
from .kinds import BY_NAME, EVENT, NODE, POD, STORAGE_CLASS
from .storage import DEFAULT_CLASS

# On a download Job: what it answers, engine and model.
ASKED = "selfhosted.llm/asked"
# Bytes of a log's beginning, where an engine says what it runs on, and lines of its end, where it says why it ended.
HEAD, TAIL = 256 * 1024, 1000


class Patient(NamedTuple):
    """A deployment to examine.

    Attributes:
        engine: its inventory group.
        asked: what a download Job of its model answers, where that lies on a volume of several deployments; else empty.
        on_gpu: whether all layers must be on the GPU.
    """

    host: str
    engine: str
    asked: str
    on_gpu: bool


class Ward:
    """The deployments of one namespace. What they share is read once.

    Args:
        asleep: since when the GPU pools sleep; empty where they do not.
    """

    def __init__(self, kube: Kube, namespace: str, asleep: str):
        self.kube = kube
        self.namespace = namespace
        self.asleep = asleep
        kinds = tuple(map(BY_NAME.get, ("Deployment", "Job", "PersistentVolumeClaim")))
        self._owned = read_owned(kube, namespace, {MANAGED_BY: MANAGER}, kinds)
        self._pods = self._list(POD.path(namespace))
        self._events = sorted(self._list(EVENT.path(namespace)), key=event_time)
        self._nodes = self._list(NODE.path())
        self._classes = {
            item["metadata"]["name"]: item["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"
            for item in self._list(STORAGE_CLASS.path())
        }

    def examine(self, patient: Patient) -> Evidence:
        """All that is known of one deployment."""
        deployment = self._newest("Deployment", lambda obj: obj["metadata"]["name"] == patient.host)
        volume = self._volume(patient, deployment)
        evidence = Evidence(
            host=patient.host,
            engine=patient.engine,
            now=datetime.now(UTC).isoformat(timespec="seconds"),
            asleep=self.asleep,
            on_gpu=patient.on_gpu,
            deployment=deployment,
            job=self._newest("Job", lambda obj: obj["metadata"]["labels"].get(INSTANCE) == volume),
            pod={},
            claim=self._newest("PersistentVolumeClaim", lambda obj: obj["metadata"]["name"] == volume),
            events=[],
            nodes=self._nodes,
            storage_classes=self._classes,
        )
        evidence = evidence._replace(pod=self._pod(evidence.workload))
        uids = {obj["metadata"]["uid"] for obj in (evidence.deployment, evidence.job, evidence.pod, evidence.claim) if obj}
        evidence = evidence._replace(events=[event for event in self._events if event["involvedObject"].get("uid") in uids])
        return evidence._replace(log=self._log(evidence), answer=self._answer(evidence))

    def _list(self, path: str) -> list[dict]:
        return self.kube.request("GET", path)["items"]

    def _newest(self, kind: str, wanted: Callable[[dict], bool]) -> dict:
        """The newest such object, or an empty dict."""
        return _newest(obj for obj in self._owned if obj["kind"] == kind and wanted(obj))

    def _volume(self, patient: Patient, deployment: dict) -> str:
        """The claim that the deployment mounts, or will mount."""
        volumes = deployment["spec"]["template"]["spec"]["volumes"] if deployment else ()
        claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]
        if not claims and patient.asked:
            job = self._newest("Job", lambda obj: obj["metadata"].get("annotations", {}).get(ASKED) == patient.asked)
            claims = [job["metadata"]["labels"][INSTANCE]] if job else []
        return claims[0] if claims else patient.host

    def _pod(self, workload: dict) -> dict:
        """The newest pod of a Deployment or Job that is not on its way out, or an empty dict."""
        if not workload:
            return {}
        wanted = workload["spec"]["selector"]["matchLabels"].items()
        pods = (pod for pod in self._pods if wanted <= pod["metadata"].get("labels", {}).items())
        return _newest(pod for pod in pods if not pod["metadata"].get("deletionTimestamp"))

    def _log(self, evidence: Evidence) -> str:
        """The log of the container that tells: its beginning while it runs, its end once it ended."""
        state = evidence.container.get("state", {})
        query: dict = {"container": evidence.container.get("name")}
        if evidence.ended:  # while it waits to be started again, the log is still that of the run that ended
            query |= {"tailLines": TAIL, "previous": str("running" in state).lower()}
        elif "running" in state:
            query |= {"limitBytes": HEAD} if evidence.workload is evidence.deployment else {"tailLines": TAIL}
        else:
            return ""
        try:
            return self.kube.text(POD.path(self.namespace, evidence.pod["metadata"]["name"]) + "/log", query)
        except KubeError:
            return ""  # its node is gone, or it has not begun

    def _answer(self, evidence: Evidence) -> int | None:
        """Ask the endpoint of an engine that is up nothing, with its key, which engines look at first."""
        if not evidence.ready:
            return None
        secret = keys.own(read_owned(self.kube, self.namespace, {INSTANCE: evidence.host}, (BY_NAME["Secret"],)))
        key = keys.read(secret) if secret else None
        pod, port = evidence.pod["metadata"]["name"], evidence.spec["ports"][0]["containerPort"]
        try:
            endpoint = Endpoint(lambda: open_socket(self.kube, self.namespace, pod, port), evidence.host, key)
            endpoint.request("POST", "/v1/chat/completions", {})
        except EndpointError as error:
            return error.status
        except KubeError:
            return None
        return 200


def _newest(objects: Iterable[dict]) -> dict:
    return max(objects, key=lambda obj: obj["metadata"]["creationTimestamp"], default={})


def event_time(event: dict) -> str:
    """When an event happened last, as the API server writes times."""
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
