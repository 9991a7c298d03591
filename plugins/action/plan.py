# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.plan; its documentation is in plugins/modules/plan.py."""

from __future__ import annotations

import hashlib
import json
import os

from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils import gpu, refusals
from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import ready, storage
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import MODEL, NAME
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import Record, read_record
from ansible_collections.selfhosted.llm.plugins.module_utils.weights import in_words
from ansible_collections.selfhosted.llm.plugins.plugin_utils import engines, fitting, models
from ansible_collections.selfhosted.llm.plugins.plugin_utils.fleet import Engineer
from ansible_collections.selfhosted.llm.plugins.plugin_utils.preflight import Preflight
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table


class ActionModule(Preflight):
    """Check all selected deployments together, before anything is written, and resolve what their roles need."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec({"refuse": {"type": "bool", "default": True}})
        values = self.checked_values(task_vars)
        self.problems += engines.problems(values)
        record, engineers = self._clusters(values)
        self.stop_on_problems()
        self.problems += refusals.problems(values, record.engineers)
        live = {name: self._live(engineer) for name, engineer in engineers.items()}
        self.stop_on_problems()
        wanted = [models.Wanted(host, mine["engine"], mine) for host, mine in values.items()]
        found = models.find(wanted, {host: live[mine["engineer"]] for host, mine in values.items()})
        fits = fitting.judge(wanted, {host: model for host, model in found.items() if isinstance(model, models.Found)}, record.pools)
        deployments, notes = {}, [engines.ARCHIVED] if any(model.engine == "tgi" for model in wanted) else []
        for model in wanted:
            engineer = engineers[model.values["engineer"]]
            try:
                deployment, note = self._deployment(model, found[model.host], record, engineer, live[engineer.name])
                fit, set_here = fits[model.host], self.variables.raw(model.host)
                more = engines.notes(model.values, deployment, fit, set_here, self.variables.spec(model.engine))
                note = " ".join(filter(None, (note, _fit_note(fit, args["refuse"]), *more)))
            except UserError as error:
                self.problems.append(f"{model.host}: {error}")
                continue
            speed = fit["tokens_per_second"] or 0.0
            deployments[model.host] = deployment | {"fit": fit, "tokens_per_second": speed}
            notes += [f"{model.host}: {note}"] if note else []
        self.stop_on_problems()
        if args["refuse"]:  # else selfhosted.llm.plan_report shows it
            running = {host: plan for host, plan in deployments.items() if int(values[host]["llm_replicas"])}
            judged = {host: plan for host, plan in running.items() if not values[host]["llm_force"]}
            self.problems += gpu.crowded({host: gpu.Placement(plan["pool"], plan["slots"], 0) for host, plan in judged.items()})
            self.stop_on_problems()
            for line in table([_row(host, deployment) for host, deployment in deployments.items()]):
                Display().display(line)
        return result | {"changed": False, "deployments": deployments, "platform": self._platform(engineers), "warnings": notes}

    def _platform(self, engineers: dict[str, Engineer]) -> str:
        """The platform's name, or the address of its API server."""
        clusters = self._task_vars["groups"].get("sks_clusters")
        return clusters[0] if clusters else next((engineer.kube.server for engineer in engineers.values() if engineer.kube), "")

    def _clusters(self, values: dict[str, dict]) -> tuple[Record, dict[str, Engineer]]:
        """The platform's record, and the engineers on their clusters by name.

        The record's pools and engineers are those of the platform's own inventory, where that is given.
        """
        pools, record, engineers = None, None, {}
        if clusters := self._task_vars["groups"].get("sks_clusters"):
            wanted = self.variables.evaluate(clusters[0], ["sks_gpu_nodes_pools", "engineer_accounts"], ("sks_gpu_nodes", "engineer"))
            pools = [entry for pool in wanted["sks_gpu_nodes_pools"] if (entry := gpu.pool_record(pool))]
            accounts = [account["name"] for account in wanted["engineer_accounts"]]
        for name, mine in {value["engineer"]: value for value in values.values()}.items():
            path = os.path.expanduser(mine["llm_kubeconfig"])
            kube = None
            # In check mode this run may be what would make the cluster, or the engineer's access.
            if not (self._task.check_mode and clusters and not os.path.exists(path)):
                try:
                    kube = Kube(path)
                    kube.check_expiry()
                    record = record or read_record(kube)
                    if not record and pools is None:
                        raise UserError(
                            f"The cluster at {kube.server} has no readable record of this platform (ConfigMap selfhosted-llm/platform): "
                            "the platform's admin publishes it with playbooks/platform.yml."
                        )
                except UserError as error:
                    self.problems.append(f"{name}: {error}")
            hosts = [host for host in values if values[host]["engineer"] == name]
            engineers[name] = Engineer(name, f"llm-{name}", kube, hosts)
        record = record or Record([], "", [])
        return record if pools is None else record._replace(pools=pools, engineers=accounts), engineers

    def _live(self, engineer: Engineer) -> list[dict]:
        """The engineer's download Jobs and Deployments as they are."""
        try:
            return engineer.live("Job", "Deployment")
        except KubeError as error:
            if error.status != 403:  # else the namespace does not exist yet, or the apply will say so
                self.problems.append(f"{engineer.name}: {error}")
            return []

    def _deployment(
        self, model: models.Wanted, found: models.Found | UserError, record: Record, engineer: Engineer, live: list[dict]
    ) -> tuple[dict, str]:
        """What the roles need to know of one deployment beyond its variables, and a note.

        Raises:
            UserError: it cannot be deployed like this; the sentence begins with the variable.
        """
        values = model.values
        try:
            placement = gpu.place(values["llm_gpu"], record.pools)
        except gpu.PlacementError as error:
            raise UserError(f"llm_gpu: {error}.") from None
        if isinstance(found, UserError):
            raise UserError(f"llm_model: {found}")
        snapshot, weights, note = found
        volume = model.host
        if values["llm_shared_cache"]:
            volume = f"cache-{_fingerprint(snapshot.repo, snapshot.commit)}"
            note = " ".join(filter(None, (note, _shared(engineer, values))))
        _check_size(values.get("llm_volume_size"), weights.room)
        files = [file._asdict() for file in weights.files]
        job = f"{volume}-{_fingerprint(volume, snapshot.repo, snapshot.commit, files, weights.quant)}"
        served = next((obj for obj in live if obj["kind"] == "Deployment" and obj["metadata"]["name"] == model.host), {"metadata": {}})
        return {
            "engine": model.engine,
            "asked": model.asked,
            "repo": snapshot.repo,
            "commit": snapshot.commit,
            "directory": f"{snapshot.repo}/{snapshot.commit}",
            "served": served["metadata"].get("annotations", {}).get(MODEL, "").replace("@", "/"),
            "served_by": served["metadata"].get("labels", {}).get(NAME, "").replace("-", "_"),
            "files": files,
            "quant": weights.quant,
            "first_file": weights.first_file,
            "mmproj": weights.projector.path if weights.projector else "",
            "bytes": weights.size,
            "room": weights.room,
            "volume": volume,
            "job": job,
            "in_place": any(obj["kind"] == "Job" and obj["metadata"]["name"] == job and ready.is_complete(obj) for obj in live),
            "licence": snapshot.licence,
            "engineer": engineer.name,
            "pool": placement.pool,
            "slots": placement.slots,
            "share": gpu.describe(values["llm_gpu"]),
            "routes": list(CONTRACTS[model.engine].keyed),
            "several_keys": CONTRACTS[model.engine].several_keys,
            "asleep": bool(record.asleep),
        }, note


def _shared(engineer: Engineer, values: dict) -> str:
    """A note on the storage of a shared cache; a UserError where it cannot be shared."""
    try:
        return storage.check_many_nodes(engineer.kube, values.get("llm_storage_class")) if engineer.kube else ""
    except UserError as error:
        raise UserError(f"llm_shared_cache: {error}") from None


def _check_size(quantity: str | None, room: int) -> None:
    """Compare the size of the volume, where the inventory has one, with the room (bytes) that the model takes."""
    try:
        if quantity and storage.bytes_of(quantity) < room:
            raise UserError(f"llm_volume_size: {quantity} is too small for this model, which takes {room / 2**30:.2f} GiB: raise it.")
    except ValueError:
        raise UserError(f"llm_volume_size: {quantity!r} is no size: write for example 20Gi.") from None


def _fit_note(fit: dict, refuse: bool) -> str:
    """A note on the verdict where it is not plain; a UserError where it is no."""
    if fit["verdict"] == "fits" or not refuse:
        return ""
    instead = f" What would fit: {'; '.join(proposal['change'] for proposal in fit['proposals'])}." if fit["proposals"] else ""
    if fit["verdict"] == "no" and not fit["forced"]:
        raise UserError(f"llm_model: {fit['message']}{instead} llm_force deploys it all the same.")
    return f"{fit['message']}{instead}"


def _row(host: str, deployment: dict) -> dict[str, str]:
    """The deployment's line in the plan's table."""
    taken = sum(gpu["total_mib"] for gpu in deployment["fit"]["gpus"])
    given = sum(gpu["free_mib"] for gpu in deployment["fit"]["gpus"])
    return {
        "deployment": host,
        "model": f"{deployment['repo']}@{deployment['commit'][:7]}",
        "licence": deployment["licence"] or "-",
        "weights": in_words(deployment["bytes"]) + (f", made into {deployment['quant']}" if deployment["quant"] else ""),
        "where": "on the volume" if deployment["in_place"] else "to download",
        "GPU": f"{taken / 1024:.1f} of {given / 1024:.1f} GiB" if given else deployment["share"],
        "verdict": deployment["fit"]["verdict"],
    }


def _fingerprint(*parts: object) -> str:
    """Eight digits that tell what these are apart from others."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
