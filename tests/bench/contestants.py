# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared: each brings the same deployments to the same API server, as its users would."""
from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import yaml

from . import REPOSITORY

Command = list[str | Path]
ANSIBLE = REPOSITORY / ".venv/bin/ansible-playbook"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
MODEL = "bench/small-GGUF"
CONTEXT = 1024  # tokens; the variable that is edited


class Contestant:
    """One tool.

    Args:
        folder: an empty directory for its files.
        kubeconfig: the cluster, with full rights.
        run: name of this measurement, lowercase letters and digits; namespaces are named by it.

    Attributes:
        name: what the tool is called.
        namespace: where its objects are.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, kubeconfig: Path, run: str):
        folder.mkdir(parents=True)
        self.folder = folder
        self.kubeconfig = kubeconfig
        self.run = run
        self.namespace = f"{folder.name}-{run}"

    def write(self, deployments: dict[str, list[dict]]) -> None:
        """Write what a user has on their disk: the objects by deployment."""
        raise NotImplementedError

    def commands(self, check: bool) -> list[Command]:
        """What a user types, for all deployments; `check` writes nothing to the cluster."""
        raise NotImplementedError

    def _write_manifest(self, path: Path, objects: list[dict]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        placed = [obj | {"metadata": obj["metadata"] | {"namespace": self.namespace}} for obj in objects]
        path.write_text(yaml.safe_dump_all(placed))


class Ours(Contestant):
    """This collection: one engineer's inventory. Their namespace and the platform's record are there, and they have a token."""

    name = "selfhosted.llm"

    def __init__(self, folder: Path, kubeconfig: Path, run: str):
        super().__init__(folder, kubeconfig, run)
        self.namespace = f"llm-{run}"

    def write_inventory(self, number: int, edited: bool) -> None:
        """An inventory of `number` deployments; `edited` gives the first one another context length."""
        hosts = [f"{self.run}-m{index:02}" for index in range(1, number + 1)]
        variables = {"llm_gpu": 0.5, "llm_replicas": 0, "llm_context": CONTEXT, "llm_model": MODEL}
        inventory = {
            f"engineer_{self.run}": {"hosts": dict.fromkeys(hosts), "vars": {**LOCAL, "llm_kubeconfig": str(self.kubeconfig)}},
            "llama_cpp": {"hosts": {host: dict(variables) for host in hosts}},
        }
        if edited:
            inventory["llama_cpp"]["hosts"][hosts[0]]["llm_context"] = 2 * CONTEXT
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def write(self, deployments: dict[str, list[dict]]) -> None:
        raise NotImplementedError("the others' objects come from this one")

    def commands(self, check: bool) -> list[Command]:
        return [[ANSIBLE, "playbooks/deploy.yml", "-i", self.folder / "hosts.yml", *(["--check"] if check else [])]]


class Kubectl(Contestant):
    """One file with everything, applied on the server's side."""

    name = "kubectl"

    def write(self, deployments: dict[str, list[dict]]) -> None:
        self._write_manifest(self.folder / "all.yml", sum(deployments.values(), []))

    def commands(self, check: bool) -> list[Command]:
        return [["kubectl", "apply", "--server-side", "-f", self.folder / "all.yml",
                 *(["--dry-run=server"] if check else [])]]


class Helm(Contestant):
    """A chart for each deployment, one after the other."""

    name = "helm"

    def write(self, deployments: dict[str, list[dict]]) -> None:
        self.deployments = list(deployments)
        for name, objects in deployments.items():
            chart = self.folder / name
            self._write_manifest(chart / "objects.yaml", objects)
            (chart / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": name, "version": "1.0.0"}))
            (chart / "templates").mkdir(exist_ok=True)
            (chart / "templates/all.yaml").write_text('{{ .Files.Get "objects.yaml" }}\n')

    def commands(self, check: bool) -> list[Command]:
        return [["helm", "upgrade", "--install", "--namespace", self.namespace, name, self.folder / name,
                 *(["--dry-run=server"] if check else [])] for name in self.deployments]


class Core(Contestant):
    """The collection kubernetes.core: a host for each deployment, and one task with all its objects."""

    name = "kubernetes.core"

    def write(self, deployments: dict[str, list[dict]]) -> None:
        for name, objects in deployments.items():
            self._write_manifest(self.folder / f"{name}.objects", objects)
        inventory = {"all": {"hosts": dict.fromkeys(deployments), "vars": LOCAL}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
        task = {"kubernetes.core.k8s": {"src": f"{self.folder}/{{{{ inventory_hostname }}}}.objects"}}
        (self.folder / "play.yml").write_text(
            yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [{"name": "Apply", **task}]}]))

    def commands(self, check: bool) -> list[Command]:
        return [[ANSIBLE, self.folder / "play.yml", "-i", self.folder / "hosts.yml", *(["--check"] if check else [])]]


OTHERS = (Kubectl, Helm, Core)
