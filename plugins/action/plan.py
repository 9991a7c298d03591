# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.plan; its documentation is in plugins/modules/plan.py."""

from __future__ import annotations

import difflib
import hashlib
import json
import os

from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils import gpu, inventory_rules
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import ready, storage
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import Record, read_record
from ansible_collections.selfhosted.llm.plugins.module_utils.weights import in_words
from ansible_collections.selfhosted.llm.plugins.plugin_utils import models
from ansible_collections.selfhosted.llm.plugins.plugin_utils.fleet import Engineer
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables

# Registered by deploy.yml; every other llm_ variable is in an argument spec.
OWN_VARIABLES = {"llm_plan"}


class ActionModule(ActionBase):
    """Check all selected deployments together, before anything is written, and resolve what their roles need."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._task_vars = task_vars
        self._variables = Variables(self, task_vars)
        self._problems: list[str] = []
        hosts = task_vars["ansible_play_hosts"]

        self._problems += inventory_rules.problems(self._sources(), self._merged_groups())
        self._stop_on_problems()
        values = {host: self._values(host) for host in hosts}
        self._stop_on_problems()
        record, engineers = self._clusters(values)
        self._stop_on_problems()
        live = {name: self._live(engineer) for name, engineer in engineers.items()}
        self._stop_on_problems()
        wanted = [models.Wanted(host, values[host]["engine"], values[host]) for host in hosts]
        found = models.find(wanted, {host: live[values[host]["engineer"]] for host in hosts})
        deployments, rows, notes = {}, [], []
        for model in wanted:
            engineer = engineers[model.values["engineer"]]
            try:
                deployment, note = self._deployment(model, found[model.host], record, engineer, live[engineer.name])
            except UserError as error:
                self._problems.append(f"{model.host}: {error}")
                continue
            deployments[model.host] = deployment
            rows.append(_row(model.host, found[model.host], deployment["job"], live[engineer.name]))
            notes += [f"{model.host}: {note}"] if note else []
        self._stop_on_problems()
        for line in table(rows):
            Display().display(line)
        return result | {"changed": False, "deployments": deployments, "warnings": notes}

    def _stop_on_problems(self) -> None:
        if self._problems:
            raise AnsibleActionFail("Nothing was written. " + " ".join(dict.fromkeys(self._problems)))

    def _sources(self) -> list[inventory_rules.Source]:
        """Each inventory source read by itself, as Ansible's merged view no longer tells them apart."""
        sources = []
        for path in self._task_vars["ansible_inventory_sources"]:
            if not os.path.exists(path):  # a host list such as "localhost,"
                continue
            inventory = InventoryManager(self._loader, [path])
            groups = {name: [host.name for host in group.get_hosts()] for name, group in inventory.groups.items()}
            variables = {
                name: dict.fromkeys(inventory.groups[name].vars, path) | self._group_vars_files(path, name)
                for name in ("all", *inventory_rules.ENGINES)
                if name in inventory.groups
            }
            sources.append(inventory_rules.Source(path, groups, variables))
        return sources

    def _group_vars_files(self, source: str, group: str) -> dict[str, str]:
        """The file that sets each variable of a group in a source's group_vars."""
        directory = source if os.path.isdir(source) else os.path.dirname(source)
        files = map(os.fsdecode, self._loader.find_vars_files(os.path.join(directory, "group_vars"), group))
        return {name: file for file in files for name in self._loader.load_from_file(file) or {}}

    def _merged_groups(self) -> dict[str, list[str]]:
        return {host: self._variables.raw(host)["group_names"] for host in self._task_vars["groups"]["all"]}

    def _values(self, host: str) -> dict:
        """The templated variables of one host, checked against the argument specs of its roles."""
        raw, engine = self._variables.raw(host), self._variables.engine(host)
        roles = ("llm", engine)
        spec = self._variables.spec("llm") | self._variables.spec(engine)
        try:
            # Where the inventory does not say it, the volume's size comes from the files, which are only known after the plan.
            names = [name for name in spec if name != "llm_volume_size" or name in raw]
            values = self._variables.evaluate(host, names, roles)
        except ValueError as error:
            self._problems.append(f"{host}: {error}")
            return {}
        validated = ArgumentSpecValidator(spec).validate(values)
        self._problems += [f"{host}: {error}." for error in validated.error_messages]
        for name in raw:
            if name.startswith(tuple(f"{role}_" for role in roles)) and name not in spec and name not in OWN_VARIABLES:
                near = difflib.get_close_matches(name, spec, 1)
                self._problems.append(f"{host}: there is no variable {name}" + (f"; did you mean {near[0]}?" if near else "."))
        return validated.validated_parameters | {"engine": engine, "engineer": self._variables.engineer(host)}

    def _clusters(self, values: dict[str, dict]) -> tuple[Record, dict[str, Engineer]]:
        """The platform's record, and the engineers on their clusters by name.

        The record's pools are those of the platform's own inventory, where that is given.
        """
        pools, record, engineers = None, None, {}
        if clusters := self._task_vars["groups"].get("sks_clusters"):
            wanted = self._variables.evaluate(clusters[0], ["sks_gpu_nodes_pools"], ("sks_gpu_nodes",))
            pools = [entry for pool in wanted["sks_gpu_nodes_pools"] if (entry := gpu.pool_record(pool))]
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
                    self._problems.append(f"{name}: {error}")
            hosts = [host for host in values if values[host]["engineer"] == name]
            engineers[name] = Engineer(name, f"llm-{name}", kube, hosts)
        record = record or Record([], "")
        return record if pools is None else record._replace(pools=pools), engineers

    def _live(self, engineer: Engineer) -> list[dict]:
        """The engineer's download Jobs and Deployments as they are."""
        try:
            return engineer.live("Job", "Deployment")
        except KubeError as error:
            if error.status != 403:  # else the namespace does not exist yet, or the apply will say so
                self._problems.append(f"{engineer.name}: {error}")
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
        served = next((obj for obj in live if obj["kind"] == "Deployment" and obj["metadata"]["name"] == model.host), {"metadata": {}})
        return {
            "engine": model.engine,
            "asked": model.asked,
            "repo": snapshot.repo,
            "commit": snapshot.commit,
            "directory": f"{snapshot.repo}/{snapshot.commit}",
            "served": served["metadata"].get("annotations", {}).get(models.MODEL, "").replace("@", "/"),
            "files": files,
            "quant": weights.quant,
            "first_file": weights.first_file,
            "bytes": weights.size,
            "room": weights.room,
            "volume": volume,
            "job": f"{volume}-{_fingerprint(volume, snapshot.repo, snapshot.commit, files, weights.quant)}",
            "pool": placement.pool,
            "slots": placement.slots,
            "share": gpu.describe(values["llm_gpu"]),
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


def _row(host: str, found: models.Found, job: str, live: list[dict]) -> dict[str, str]:
    """The deployment's line in the plan's table."""
    in_place = any(obj["kind"] == "Job" and obj["metadata"]["name"] == job and ready.is_complete(obj) for obj in live)
    weights = found.weights
    return {
        "deployment": host,
        "model": f"{found.snapshot.repo}@{found.snapshot.commit[:7]}",
        "licence": found.snapshot.licence or "-",
        "weights": in_words(weights.size) + (f", made into {weights.quant}" if weights.quant else ""),
        "where": "on the volume" if in_place else "to download",
    }


def _fingerprint(*parts: object) -> str:
    """Eight digits that tell what these are apart from others."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
