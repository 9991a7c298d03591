# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove a deployment by asking its real endpoint, once for each state of its pods."""

from __future__ import annotations

import json

from .. import engine_log
from ..doctor.causes import diagnose
from ..engines import CONTRACTS
from ..errors import UserError
from ..openai import Answer, Endpoint, EndpointError
from . import keys, postmortem
from .apply import INSTANCE
from .client import APPLY_PATCH, Kube
from .desired import NotServing, Owner, Trial
from .examine import Patient, Ward
from .forward import open_socket, ready_pod
from .gpu_memory import used_mib
from .history import MANAGER, fingerprint
from .kinds import BY_NAME, POD

# On the Deployment: the pod template that answered, and how fast.
ANSWERED = "selfhosted.llm/answered"


def recorded(deployment: dict) -> dict:
    """The answer recorded for the Deployment's present pods: seconds, tokens_per_second; empty if they were not asked."""
    record = json.loads(deployment["metadata"].get("annotations", {}).get(ANSWERED, "{}"))
    return record if record.get("template") == fingerprint(deployment) else {}


def record(kube: Kube, deployment: dict, answer: Answer) -> dict:
    """Record at a live Deployment what its present pods answered; returns the record."""
    made = {
        "template": fingerprint(deployment),
        "seconds": round(answer.seconds, 2),
        "tokens_per_second": round(answer.tokens_per_second, 1),
    }
    metadata, kind = deployment["metadata"], BY_NAME["Deployment"]
    body = {
        "apiVersion": kind.api,
        "kind": kind.name,
        "metadata": {"name": metadata["name"], "annotations": {ANSWERED: json.dumps(made)}},
    }
    # A field manager of its own, so that applying the deployment neither removes nor compares it.
    kube.request("PATCH", kind.path(metadata["namespace"], metadata["name"]), body, {"fieldManager": MANAGER, "force": "true"}, APPLY_PATCH)
    return made


class Gate(Trial):
    """The questions put to one deployment.

    Args:
        options: those of selfhosted.llm.apply's option ``gate``.
        reports: directory for what tells why it failed.
    """

    def __init__(self, kube: Kube, owner: Owner, options: dict, reports: str):
        self.kube = kube
        self.owner = owner
        self.options = options
        self.reports = reports
        self._key: str | None = None

    def prove(self, deployment: dict) -> dict:
        """Ask unless these very pods were asked before; return the recorded answer."""
        if known := recorded(deployment):
            return known
        return record(self.kube, deployment, self.ask())

    def ask(self) -> Answer:
        """Everything that a deployment must show.

        Raises:
            NotServing: it does not serve the model under the deployment's name, slower than it must, on the CPU, or without its metrics.
        """
        name, namespace = self.owner.instance, self.owner.namespace
        if secret := self.options["key_secret"]:
            self._key = keys.read(self.kube.request("GET", BY_NAME["Secret"].path(namespace, secret)))
        try:
            pod = ready_pod(self.kube, namespace, {INSTANCE: name})
            endpoint = Endpoint(lambda: open_socket(self.kube, namespace, pod, self.options["port"]), name, self._key)
            if name not in (served := endpoint.models()):
                raise EndpointError(f"it serves {' and '.join(served) or 'no model'}, not {name}")
            answer = endpoint.embed() if self.options["task"] == "embedding" else endpoint.chat()
            contract = CONTRACTS[self.options["engine"]]
            missing = sorted({*contract.metrics} - {*contract.rare} - endpoint.metrics())
        except UserError as error:
            raise NotServing(f"{name} is up but does not serve: {error}.") from None
        if missing:
            raise NotServing(f"{name} serves, but without the metrics {', '.join(missing)}, which dashboards and alerts need.")
        if answer.tokens_per_second < self.options["floor"]:
            raise NotServing(
                f"{name} is up but slow: it answered with {answer.tokens_per_second:.1f} tokens a second, where "
                f"{self.options['floor']:.1f} is the least (llm_gate_floor). Does its engine use the GPU?"
            )
        if self.options["gpu_layers"] != "0":
            self._check_layers(pod)
        if self.options["gpu_mib"]:
            self._check_memory(pod)
        return answer

    def _check_layers(self, pod: str) -> None:
        """Make sure that the engine's log tells of as many layers on the GPU as were asked for."""
        log, wanted = self.kube.text(POD.path(self.owner.namespace, pod) + "/log"), self.options["gpu_layers"]
        says = engine_log.off_gpu(log, wanted)
        if not says and not engine_log.offloaded(log):
            says = "its log tells of no layers on the GPU"
        if says:
            raise NotServing(f"{self.owner.instance} reserves a GPU, but computes on the CPU (llama_cpp_gpu_layers is {wanted}): {says}.")

    def _check_memory(self, pod: str) -> None:
        """Make sure that the pod uses as much of the cards' memory as its weights take, where that is known."""
        used = used_mib(self.kube, self.owner.engineer, pod, self.options["gpu_mib"])
        if used is not None and used < self.options["gpu_mib"]:
            raise NotServing(
                f"{self.owner.instance} reserves a GPU, but uses {used} MiB of its memory, where its weights alone take "
                f"{self.options['gpu_mib']} MiB (llm_gate_gpu)."
            )

    def keep_evidence(self, deployment: dict, reason: str) -> str:
        hidden = [self._key] if self._key else []
        path = postmortem.write(self.kube, deployment, reason, self.reports, hidden)
        patient = Patient(self.owner.instance, self.options["engine"], "", self.options["gpu_layers"] != "0")
        cause, _proof, change = diagnose(Ward(self.kube, self.owner.namespace, "").examine(patient))
        advice = f"{change}: {cause.cure[0].lower()}{cause.cure[1:]} " if change else ""
        return f"{advice}Logs and events are in {path}"
