# SPDX-License-Identifier: GPL-3.0-or-later
"""The running sandbox, and playbooks run on it as users run them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import OWNED, POD, Kind

REPOSITORY = Path(__file__).resolve().parents[2]
SANDBOX = "tests/sandbox/inventory"
ALL = ("inventories/platform", "inventories/alice", "inventories/bob", SANDBOX)

# What a pod of the cluster asks.
ASK = """
import json, os, urllib.request
body = json.dumps({"model": "HOST", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}).encode()
headers = {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"}
request = urllib.request.Request("http://HOST.llm-alice/v1/chat/completions", body, headers)
print(json.load(urllib.request.urlopen(request, timeout=5))["usage"]["completion_tokens"])
"""


class Run(NamedTuple):
    """A finished playbook.

    Attributes:
        status: its exit status.
        text: all it printed.
        stats: Ansible's statistics by host: ok, changed, failures, ...
        results: the results of all tasks, as (task name, host, result).
    """

    status: int
    text: str
    stats: dict[str, dict]
    results: list[tuple[str, str, dict]]

    @property
    def changed(self) -> set[str]:
        return {host for host, counts in self.stats.items() if counts["changed"]}

    @property
    def diffs(self) -> list[dict]:
        """The diffs of all tasks and of their loops' items."""
        found = []
        for _task, _host, result in self.results:
            for entry in (result, *result.get("results", ())):
                diff = entry.get("diff", [])
                found += diff if isinstance(diff, list) else [diff]
        return found

    @property
    def warnings(self) -> str:
        """The warnings of all tasks."""
        return " ".join(warning for _task, _host, result in self.results for warning in result.get("warnings", ()))

    @property
    def message(self) -> str:
        """The messages of all failed tasks."""
        return " ".join(str(result.get("msg", "")) for _task, _host, result in self.results if result.get("failed"))


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment of a shell that has sourced .sandbox/env."""
    command = ["bash", "-c", ". .sandbox/env && env -0"]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return dict(entry.split("=", 1) for entry in output.split("\0") if entry)


@pytest.fixture(scope="session")
def start(environment) -> Callable[..., subprocess.Popen]:
    """Start a playbook: start("site.yml", "alice-inventory", ..., extra=[...], env={...})."""

    def start(playbook: str, *inventories: str | Path, extra: tuple = (), env: dict | None = None) -> subprocess.Popen:
        command = ["ansible-playbook", playbook, *(word for path in inventories for word in ("-i", str(path))), *map(str, extra)]
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment | {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def finished(process: subprocess.Popen) -> Run:
    """Wait for a playbook and read what it says."""
    text, _errors = process.communicate(timeout=900)
    stats, results = {}, []
    if (begin := text.find("{\n    \"custom_stats\"")) >= 0:
        report, _end = json.JSONDecoder().raw_decode(text[begin:])
        stats = report["stats"]
        results = [
            (task["task"]["name"], host, result)
            for play in report["plays"]
            for task in play["tasks"]
            for host, result in task["hosts"].items()
        ]
    return Run(process.returncode, text, stats, results)


def kill(pid: int) -> None:
    """Kill a playbook at once with its workers, which Ansible puts into sessions of their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split() if children.exists() else ():
        kill(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def run(start) -> Callable[..., Run]:
    """Run a playbook to its end."""
    return lambda *args, **kwargs: finished(start(*args, **kwargs))


@pytest.fixture(scope="session")
def admin(environment) -> Kube:
    """The cluster with all rights."""
    return Kube(environment["KUBECONFIG"])


def listed(admin: Kube, kind: Kind, namespace: str, selector: str = "") -> list[dict]:
    """The objects of a kind; none of an optional one that the cluster does not know."""
    try:
        return admin.request("GET", kind.path(namespace), query={"labelSelector": selector})["items"]
    except KubeError as error:
        if error.status != 404 or not kind.optional:
            raise
        return []


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@contextlib.contextmanager
def defined(admin: Kube, module: str, checksum: str, *files: str) -> Iterator[None]:
    """The cluster knows the kinds that files of a Go module define, whose sum is that in Go's checksum database."""
    with tempfile.TemporaryDirectory() as folder:
        download = subprocess.run(["go", "mod", "download", "-json", module], cwd=folder, capture_output=True, text=True)
    found = json.loads(download.stdout)
    assert found["Sum"] == checksum
    definitions = [yaml.safe_load(Path(found["Dir"], file).read_text()) for file in files]
    paths = [f"{DEFINITIONS}/{definition['metadata']['name']}" for definition in definitions]
    try:
        for definition in definitions:
            admin.request("POST", DEFINITIONS, definition)
        while not all(_is_served(admin, definition["spec"]) for definition in definitions):
            time.sleep(0.5)
        yield
    finally:
        for path in paths:
            with contextlib.suppress(KubeError):
                admin.request("DELETE", path)
        while any(exists(admin, path) for path in paths):
            time.sleep(0.5)


def _is_served(admin: Kube, spec: dict) -> bool:
    """Whether objects can be listed, which takes a moment longer than for the definition to be established."""
    try:
        admin.request("GET", f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}")
    except KubeError:
        return False
    return True


def exists(admin: Kube, path: str) -> bool:
    try:
        admin.request("GET", path)
    except KubeError as error:
        if error.status == 404:
            return False
        raise
    return True


@pytest.fixture(scope="session")
def kubeconfigs(environment) -> Path:
    """The directory of the engineers' kubeconfigs."""
    return Path(environment["SANDBOX_STATE"]) / "kubeconfigs"


@pytest.fixture
def objects(admin) -> Callable[[str], dict[str, str]]:
    """uid and resourceVersion of everything a namespace's deployments own, by kind and name."""

    def objects(namespace: str) -> dict[str, str]:
        return {
            f"{kind.name}/{item['metadata']['name']}": f"{item['metadata']['uid']} {item['metadata']['resourceVersion']}"
            for kind in OWNED
            for item in listed(admin, kind, namespace)
        }

    return objects


@pytest.fixture
def inventory(tmp_path) -> Callable[..., Path]:
    """Write an inventory of one engineer: inventory("alice", {"alice-x": {...}}, engine="llama_cpp")."""

    def inventory(engineer: str, hosts: dict[str, dict], engine: str = "llama_cpp", **engineer_vars) -> Path:
        variables = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "llm_gpu": 0.5}
        content = {
            f"engineer_{engineer}": {"hosts": dict.fromkeys(hosts), "vars": variables | engineer_vars},
            engine: {"hosts": hosts},
        }
        directory = tmp_path / f"inventory-{engineer}-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        (directory / "hosts.yml").write_text(yaml.safe_dump(content))
        return directory

    return inventory


@pytest.fixture
def clean(admin):
    """Removes what a test deployed under a name, volume included, before and after it."""
    names = []

    def left(host: str) -> list[str]:
        namespace, selector = f"llm-{host.partition('-')[0]}", f"{INSTANCE}={host}"
        return [
            kind.path(namespace, item["metadata"]["name"])
            for kind in reversed(OWNED)
            for item in listed(admin, kind, namespace, selector)
        ]

    def remove(host: str) -> None:
        for path in left(host):
            admin.request("DELETE", path, query={"propagationPolicy": "Foreground"})
        while left(host):
            time.sleep(0.5)

    def clean(host: str) -> str:
        names.append(host)
        remove(host)
        return host

    yield clean
    for name in names:
        remove(name)


@pytest.fixture
def fetched(environment) -> Callable[[], int]:
    """Bytes of model files that the hub stand-in has sent so far."""

    def fetched() -> int:
        with urllib.request.urlopen(environment["HF_ENDPOINT"] + "/sandbox/calls") as answer:
            return sum(repo["files"] for repo in json.load(answer)["repositories"].values())

    return fetched


@pytest.fixture
def repository(environment) -> Callable[[str, bytes], None]:
    """A repository e2e/small-GGUF on the hub: repository(name, content) writes a file of it, and so makes another commit."""
    place = Path(environment["SANDBOX_STATE"], "hub/e2e/small-GGUF")

    def repository(name: str, content: bytes) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)

    repository("small-Q4_1.gguf", b"GGUF and nothing more")
    yield repository
    shutil.rmtree(place.parent)


@pytest.fixture
def client(admin):
    """Asks a deployment of alice, or runs another program, in a pod of a namespace and returns the pod's phase and last words."""
    made = []

    def client(namespace: str, key: str = "", host: str = "alice-chat", program: str = ASK) -> tuple[str, str]:
        name = f"client-{len(made)}"
        pod = {
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "client",
                        "image": "localhost/downloader:2.4.0",
                        # A fresh pod's rules take up to 1.2 s to arrive.
                        "command": ["python3", "-c", f"import time; time.sleep(3)\n{program.replace('HOST', host)}"],
                        "env": [{"name": "KEY", "value": key}],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
            },
        }
        made.append((namespace, name))
        admin.request("POST", POD.path(namespace), pod)
        for _attempt in range(60):
            phase = admin.request("GET", POD.path(namespace, name))["status"]["phase"]
            if phase in ("Succeeded", "Failed"):
                return phase, admin.text(POD.path(namespace, name) + "/log", {"tailLines": 1})
            time.sleep(1)
        raise AssertionError(f"the client pod in {namespace} is still {phase}")

    yield client
    for namespace, name in made:
        try:
            admin.request("DELETE", POD.path(namespace, name), query={"gracePeriodSeconds": 0})
        except KubeError:
            pass  # never made
