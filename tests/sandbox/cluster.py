# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox: a kind cluster, what is written about it for the stand-ins, and the environment to use it."""
from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from . import build, dockerd, standins, tables
from .dockerd import SHARED
from .progress import SandboxError, output, run, stage


class Cluster:
    """A kind cluster and its stand-ins.

    The engine is the private one, or (`own_engine` False) the user's: there kind's official node image is used.
    """

    def __init__(self, name: str, own_engine: bool) -> None:
        self.name, self.own_engine = name, own_engine
        self.state = SHARED if name == tables.DEFAULT else SHARED / name
        self.about = self.state / "cluster"
        self.kubeconfig = self.about / "admin.kubeconfig"
        self.log = self.state / "log/cluster.log"
        self.workers = [f"{name}-worker{n if n > 1 else ''}" for n in range(1, tables.WORKERS + 1)]
        self.environment = dockerd.client() if own_engine else {
            **os.environ, "PATH": f"{SHARED}/bin:{os.environ['PATH']}"}

    # Facts

    def prefix(self) -> list[str]:
        """Command prefix that runs a program in the network of SANDBOX_ADDRESS."""
        pid = dockerd.running() if self.own_engine else None
        return dockerd.enter(pid) if pid else []

    def address(self) -> str:
        """SANDBOX_ADDRESS: the private engine's, or the gateway of the network `kind`."""
        if self.own_engine:
            return tables.SANDBOX_ADDRESS
        template = "{{range .IPAM.Config}}{{println .Gateway}}{{end}}"
        gateways = output(["docker", "network", "inspect", "kind", "-f", template], env=self.environment).split()
        return next(gateway for gateway in gateways if "." in gateway)

    def kubectl(self, *arguments: str) -> str:
        return output(["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments], env=self.environment)

    def fingerprint(self) -> str:
        """Changes when the cluster has to be made anew."""
        image = build.node_image().name if self.own_engine else tables.OFFICIAL_NODE
        return build.digest(image, self.configuration(image, "address"))

    def healthy(self) -> bool:
        """Is this the cluster that would be made now, and does it answer with all its nodes ready?"""
        file = self.about / "fingerprint"
        if not self.kubeconfig.exists() or not file.exists() or file.read_text() != self.fingerprint():
            return False
        try:
            nodes = json.loads(self.kubectl("get", "nodes", "-o", "json", "--request-timeout=5s"))["items"]
        except SandboxError:
            return False
        ready = [n for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready" and c["status"] == "True"]
        return len(ready) == tables.WORKERS + 1

    # Changes

    def configuration(self, image: str, address: str) -> str:
        """kind's configuration (JSON is YAML)."""
        dns = {"apiVersion": "kubeadm.k8s.io/v1beta3", "kind": "ClusterConfiguration",
               "dns": {"imageTag": tables.COREDNS}}
        join = {"apiVersion": "kubeadm.k8s.io/v1beta3", "kind": "JoinConfiguration",
                "nodeRegistration": {"taints": [{"key": tables.NO_POOL, "effect": "NoSchedule"}]}}
        nodes: list[dict] = [{"role": "control-plane", "image": image}]
        for worker in self.workers:
            mount = {"hostPath": str(self.about / "nodes" / worker), "containerPath": tables.GPUS}
            nodes.append({"role": "worker", "image": image, "kubeadmConfigPatches": [json.dumps(join)],
                          "extraMounts": [mount]})
        return json.dumps({
            "kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "name": self.name,
            "networking": {"apiServerAddress": address} if self.own_engine else {},
            "kubeadmConfigPatches": [json.dumps(dns)] if self.own_engine else [], "nodes": nodes}, indent=1)

    def create(self) -> None:
        """Make the cluster anew; state of an earlier one, the stand-ins' too, goes."""
        self.delete()
        for worker in self.workers:
            (self.about / "nodes" / worker).mkdir(parents=True)
        image = build.node_image()
        if self.own_engine:
            dockerd.load(image)
        config = self.state / "kind.json"
        config.write_text(self.configuration(image.name if self.own_engine else tables.OFFICIAL_NODE,
                                             tables.SANDBOX_ADDRESS))
        with stage(f"creating the cluster {self.name}: Kubernetes {tables.KUBERNETES}, {tables.WORKERS} workers"):
            run([*self.prefix(), SHARED / "bin/kind-program", "create", "cluster", f"--config={config}", "--wait=0s",
                 f"--kubeconfig={self.kubeconfig}"], self.log, env=self.environment)
        self.kubeconfig.chmod(0o600)
        self.describe()

    def describe(self) -> None:
        """Write what the stand-ins need to know of the cluster."""
        server = self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        (self.about / "server").write_text(server)
        for name in ("ca.crt", "ca.key"):
            text = output(["docker", "exec", f"{self.name}-control-plane", "cat", f"/etc/kubernetes/pki/{name}"],
                          env=self.environment)
            (self.about / name).touch(0o600 if name == "ca.key" else 0o644)
            (self.about / name).write_text(text)

    def load_images(self) -> None:
        """Load the images of workloads into the workers, unless these very images are there."""
        if self.own_engine:
            self._load("images", build.archive("worker-images", tables.FOR_WORKERS))
        else:
            later = {image.name for table in tables.ON_DEMAND.values() for image in table}
            self._load_official({*tables.OFFICIAL, *tables.DOCKERFILES} - later)

    def load_on_demand(self, name: str) -> None:
        """Load the images that ON_DEMAND has under `name`, unless these very images are there."""
        table = tables.ON_DEMAND[name]
        if self.own_engine:
            self._load(f"image-{name}", build.archive(f"image-{name}", table))
        else:
            self._load_official({image.name for image in table})

    def _load(self, mark: str, archive: Path) -> None:
        done = self.about / mark
        if done.exists() and done.read_text() == archive.name:
            return
        with stage("loading images into the workers"), archive.open("rb") as file:
            for worker in self.workers:
                file.seek(0)
                run(["docker", "exec", "-i", worker, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms",
                     "--no-unpack", "-"], self.log, stdin=file, env=self.environment)
        done.write_text(archive.name)

    def _load_official(self, names: set[str]) -> None:
        for name in sorted(names & set(tables.OFFICIAL)):
            public = tables.OFFICIAL[name]
            with stage(f"fetching {public}"):
                run(["docker", "pull", "-q", public], self.log, env=self.environment)
                run(["docker", "tag", public, name], self.log, env=self.environment)
        for name in sorted(names & set(tables.DOCKERFILES)):
            with stage(f"building {name}"):
                subprocess.run(["docker", "build", "-q", "-t", name, "-f", "-",
                                f"--build-context=engines={build.HERE / tables.ENGINES}", str(build.HERE)],
                               input=tables.DOCKERFILES[name], text=True, check=True, env=self.environment)
        with stage("loading images into the workers"):
            run(["kind-program", "load", "docker-image", *sorted(names), "--name", self.name], self.log,
                env=self.environment)

    def wait(self) -> None:
        """Until all nodes are ready and the cluster's own pods run."""
        with stage("waiting for nodes, DNS, network policies and storage"):
            self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
            kinds = ["-n", "kube-system", "rollout", "status", "--timeout=120s"]
            self.kubectl(*kinds, "deployment/coredns")
            if self.own_engine:
                self.kubectl(*kinds, "daemonset/kube-router")
            self.kubectl("-n", "local-path-storage", "rollout", "status", "--timeout=120s",
                         "deployment/local-path-provisioner")
            limit = time.monotonic() + 60
            while "default" not in self.kubectl("get", "serviceaccounts", "-n", "default", "-o", "name"):
                if time.monotonic() > limit:
                    raise SandboxError("The namespace default has no ServiceAccount after a minute.")
                time.sleep(0.5)

    def up(self) -> None:
        """Make everything run; does nothing that is done already."""
        (self.state / "log").mkdir(parents=True, exist_ok=True)
        if not self.healthy():
            self.create()
            self.load_images()
            self.wait()
            (self.about / "fingerprint").write_text(self.fingerprint())
        self.load_images()
        standins.start(self.name, self.state, self.address(), self.prefix())
        self.write_environment()

    def write_environment(self) -> None:
        """Write `env`, to be sourced by a shell."""
        address, venv = self.address(), build.REPOSITORY / ".venv"
        values = {
            "KUBECONFIG": self.kubeconfig, "SANDBOX_STATE": self.state, "SANDBOX_ADDRESS": address,
            "EXOSCALE_API_KEY": "EXOsandbox", "EXOSCALE_API_SECRET": "secret-of-the-sandbox",
            "EXOSCALE_ZONE": "de-fra-1",
            "EXOSCALE_API_ENDPOINT": f"http://{address}:{standins.port('exoscale', self.name)}/v2",
            "HF_ENDPOINT": f"http://{address}:{standins.port('hub', self.name)}",
            "ANSIBLE_CONFIG": build.REPOSITORY / "ansible.cfg",
            "ANSIBLE_COLLECTIONS_PATH": venv / "collections", "VIRTUAL_ENV": venv,
        }
        if self.own_engine:
            values["DOCKER_HOST"] = f"unix://{dockerd.SOCKET}"
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
        lines.append(f'export PATH={shlex.quote(f"{SHARED}/bin:{venv}/bin")}:"$PATH"')
        for name in ("NO_PROXY", "no_proxy"):
            lines.append(f'export {name}="{address}${{{name}:+,${name}}}"')
        part = self.state / "env.part"
        part.write_text("\n".join(lines) + "\n")
        part.rename(self.state / "env")

    def delete(self) -> None:
        """Delete the cluster and all that belongs to it alone."""
        standins.stop(self.state)
        if not self.own_engine or dockerd.running():
            if self.name in output(["kind-program", "get", "clusters"], env=self.environment).split():
                with stage(f"deleting the cluster {self.name}"):
                    run(["kind-program", "delete", "cluster", "--name", self.name,
                         f"--kubeconfig={self.kubeconfig}"], self.log, env=self.environment)
        for folder in (self.about, self.state / "kubeconfigs", self.state / "connect"):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("env", "exoscale.json", "kind.json"):
            (self.state / name).unlink(missing_ok=True)


def others(name: str) -> list[str]:
    """Names of the other clusters that the private engine runs."""
    if not dockerd.running():
        return []
    found = output(["kind-program", "get", "clusters"], env=dockerd.client()).split()
    return [other for other in found if other != name]


def tools(private: bool) -> None:
    """Fill .sandbox/bin: kubectl, kind (in the engine's network), docker, exo where the user has one."""
    folder = SHARED / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    links = {"kubectl": build.go("kubectl"), "kind-program": build.go("kind"),
             "docker": Path(shutil.which("docker") or "docker"), "exo": Path(os.environ.get("EXO_BIN") or "exo")}
    for name, target in links.items():
        (folder / name).unlink(missing_ok=True)
        if target.is_absolute():
            (folder / name).symlink_to(target)
    kind_script = folder / "kind"
    kind_script.unlink(missing_ok=True)
    enter = f'nsenter --net="/proc/$(cat /proc/$(cat {dockerd.PID})/task/*/children | cut -d" " -f1)/ns/net" '
    kind_script.write_text(f"#!/bin/sh\nexec {enter if private else ''}{folder}/kind-program \"$@\"\n")
    kind_script.chmod(0o755)
