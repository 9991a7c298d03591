# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.plan; its documentation is in plugins/modules/plan.py."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.selfhosted.llm.plugins.module_utils import gpu, hub, inventory_rules
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import Record, read_record
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables

# Registered by deploy.yml; every other llm_ variable is in an argument spec.
OWN_VARIABLES = {"llm_plan"}
# Hub look-ups at the same time.
HUB_THREADS = 16


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
        record = self._record(values)
        self._stop_on_problems()
        with ThreadPoolExecutor(HUB_THREADS) as threads:
            deployments = dict(zip(hosts, threads.map(lambda host: self._deployment(host, values[host], record), hosts), strict=True))
        self._stop_on_problems()
        return result | {"changed": False, "deployments": deployments}

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
            # The volume's size comes from the files, which are only known after the plan.
            values = self._variables.evaluate(host, [name for name in spec if name != "llm_volume_size"], roles)
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

    def _record(self, values: dict[str, dict]) -> Record:
        """The platform's record; its pools are those of the platform's own inventory, where that is given."""
        pools, record = None, None
        if clusters := self._task_vars["groups"].get("sks_clusters"):
            wanted = self._variables.evaluate(clusters[0], ["sks_gpu_nodes_pools"], ("sks_gpu_nodes",))
            pools = [entry for pool in wanted["sks_gpu_nodes_pools"] if (entry := gpu.pool_record(pool))]
        for engineer, mine in {value["engineer"]: value for value in values.values()}.items():
            path = os.path.expanduser(mine["llm_kubeconfig"])
            if self._task.check_mode and clusters and not os.path.exists(path):
                continue  # this run would make the cluster or the engineer's access
            try:
                kube = Kube(path)
                kube.check_expiry()
                record = record or read_record(kube)
                kube.close()
                if not record and pools is None:
                    raise UserError(
                        f"The cluster at {kube.server} has no readable record of this platform (ConfigMap selfhosted-llm/platform): "
                        "the platform's admin publishes it with playbooks/platform.yml."
                    )
            except UserError as error:
                self._problems.append(f"{engineer}: {error}")
        record = record or Record([], "")
        return record if pools is None else record._replace(pools=pools)

    def _deployment(self, host: str, values: dict, record: Record) -> dict | None:
        """What the roles need to know of one deployment beyond its variables."""
        try:
            placement = gpu.place(values["llm_gpu"], record.pools)
        except gpu.PlacementError as error:
            self._problems.append(f"{host}: llm_gpu: {error}.")
            return None
        try:
            repo, quant = hub.parse_model(values["llm_model"])
            token = hub.find_token(values.get("llm_hf_token"))
            snapshot = hub.resolve(values["llm_hub"], token, repo, values["llm_revision"])
            files = [file._asdict() for file in hub.select_files(values["engine"], snapshot, quant)]
        except UserError as error:
            self._problems.append(f"{host}: llm_model: {error}")
            return None
        identity = json.dumps([host, repo, snapshot.commit, files])
        return {
            "engine": values["engine"],
            "repo": repo,
            "commit": snapshot.commit,
            "directory": f"{repo}/{snapshot.commit}",
            "files": files,
            "first_file": min(file["path"] for file in files),
            "bytes": sum(file["size"] for file in files),
            "job": f"{host}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}",
            "pool": placement.pool,
            "slots": placement.slots,
            "share": gpu.describe(values["llm_gpu"]),
            "asleep": bool(record.asleep),
        }
