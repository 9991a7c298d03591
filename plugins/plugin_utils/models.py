# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models of all deployments of a run at a commit each: as the hub shows them, as locked, or as the cluster has them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ansible_collections.selfhosted.llm.plugins.module_utils import hub, weights
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import ready
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.examine import ASKED


class Wanted(NamedTuple):
    """The model of a deployment as its inventory has it.

    Attributes:
        values: the deployment's validated variables.
    """

    host: str
    engine: str
    values: dict[str, Any]

    @property
    def asked(self) -> str:
        return f"{self.engine} {self.values['llm_model']}@{self.values['llm_revision']}"

    @property
    def question(self) -> hub.Question:
        token = hub.find_token(self.values.get("llm_hf_token"))
        repo = weights.parse_model(self.values["llm_model"])[0]
        return hub.Question(self.values["llm_hub"], token, repo, self.values["llm_revision"])

    @property
    def lock(self) -> dict | None:
        """What playbooks/lock.yml wrote of this deployment."""
        return (self.values["llm_locks"] or {}).get(self.host)

    def select(self, snapshot: hub.Snapshot) -> weights.Weights:
        """What the engine needs of a repository."""
        return weights.select(
            self.engine, snapshot, weights.parse_model(self.values["llm_model"])[1], self.values.get("llama_cpp_mmproj", "")
        )


class Found(NamedTuple):
    """A deployment's model at a commit.

    Attributes:
        note: what the user should know of it, as a sentence; mostly empty.
    """

    snapshot: hub.Snapshot
    weights: weights.Weights
    note: str


def find(wanted: list[Wanted], live: dict[str, list[dict]]) -> dict[str, Found | UserError]:
    """Resolve all models at once.

    Args:
        live: for each host the live objects of its engineer. What a download Job among them answered is taken where the hub does
            not answer now.
    """
    questions: dict[str, hub.Question] = {}
    found: dict[str, Found | UserError] = {}
    for model in wanted:
        try:
            questions[model.host] = model.question
        except UserError as error:
            found[model.host] = error
    answers = hub.resolve_all(questions.values())
    for model in wanted:
        if model.host not in found:
            try:
                jobs = [obj for obj in live[model.host] if obj["kind"] == "Job"]
                snapshot, note = _choose(model, answers[questions[model.host]], jobs)
                found[model.host] = Found(snapshot, model.select(snapshot), note)
            except UserError as error:
                found[model.host] = error
    return found


def _choose(model: Wanted, answer: hub.Snapshot | hub.HubError, jobs: list[dict]) -> tuple[hub.Snapshot, str]:
    """The snapshot that counts, and a note."""
    if model.lock is not None:
        return _locked(model, answer, jobs)
    if isinstance(answer, hub.Snapshot):
        return answer, ""
    known = next((job for job in jobs if job["metadata"].get("annotations", {}).get(ASKED) == model.asked), None)
    if answer.kind != "unreachable" or known is None:
        raise answer
    snapshot = _recorded(known)
    return snapshot, f"{answer} It stays at {snapshot.repo}@{snapshot.commit[:7]}, as the cluster has it."


def _locked(model: Wanted, answer: hub.Snapshot | hub.HubError, jobs: list[dict]) -> tuple[hub.Snapshot, str]:
    relock = "run playbooks/lock.yml"
    try:
        asked = f"{model.lock['engine']} {model.lock['model']}@{model.lock['revision']}"
        files = tuple(hub.File(entry["path"], entry["size"], entry["sha256"]) for entry in model.lock["files"])
        snapshot = hub.Snapshot(model.lock["repo"], model.lock["commit"], False, model.lock["licence"], files)
    except (KeyError, TypeError) as error:
        raise UserError(f"its entry in llm_locks is not as it was written ({error}): {relock}.") from None
    if asked != model.asked:
        raise UserError(f"it is locked as {asked}, but the inventory asks for {model.asked}: {relock}, or undo the change.")
    if isinstance(answer, hub.Snapshot):
        moved = f"{model.values['llm_revision']} is at {answer.commit[:7]} now, locked is {snapshot.commit[:7]}: {relock} to follow."
        return snapshot, moved if answer.commit != snapshot.commit else ""
    if answer.kind != "unreachable" and all(_recorded(job).commit != snapshot.commit for job in filter(ready.is_complete, jobs)):
        raise answer  # as the weights cannot be brought
    return snapshot, ""


def _recorded(job: dict) -> hub.Snapshot:
    """What a live download Job brings."""
    pod = job["spec"]["template"]["spec"]
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    environment = {entry["name"]: entry.get("value", "") for container in containers for entry in container.get("env", ())}
    files = tuple(hub.File(**entry) for entry in json.loads(environment["LLM_FILES"]))
    return hub.Snapshot(environment["LLM_REPO"], environment["LLM_COMMIT"], False, "", files)
