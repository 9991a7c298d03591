# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles write, without a cluster: real playbooks in check mode, whose diffs are the whole objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import ansible_collections.selfhosted.llm as collection

REPOSITORY = Path(__file__).parents[2]
COLLECTIONS = Path(collection.__path__[0]).parents[2]
GGUF, SAFETENSORS = "org/chat-GGUF", "org/chat"
MIB = 1024**2
FILES = {
    f"{GGUF}/chat-Q4_K_M.gguf": b"GGUF" + bytes(3 * MIB - 4),
    f"{GGUF}/mmproj-F16.gguf": b"GGUF and no model",
    f"{SAFETENSORS}/config.json": b'{"model_type": "llama"}\n',
    f"{SAFETENSORS}/model.safetensors": bytes(3 * MIB),
}
ENGINES = {  # the model that each engine serves here
    "llama_cpp": f"{GGUF}:Q4_K_M",
    "tgi": SAFETENSORS,
    "vllm": SAFETENSORS,
}
PRESENT = [engine for engine in ENGINES if (REPOSITORY / "roles" / engine / "tasks/main.yml").exists()]

# Authorities that a download trusts, as far as anybody looks at them here.
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"

AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
        }
    }
}
# All that the engines share and that changes their objects, with values that are seen in these again.
EVERYTHING = {
    "llm_labels": {"team": "red"},
    "llm_annotations": {"cost": "42"},
    "llm_node_selector": {"disk": "fast", "selfhosted.llm/pool": "another"},
    "llm_tolerations": [{"key": "spot", "operator": "Exists"}],
    "llm_affinity": AFFINITY,
    "llm_priority_class": "high",
    "llm_pull_secrets": ["registry", "123"],
    "llm_image_mirrors": {"ghcr.io": "mirror.example.org/ghcr", "docker.io": "mirror.example.org/hub"},
    "llm_proxy": "http://proxy.example.org:3128",
    "llm_no_proxy": ["hub.example.org", ".svc"],
    "llm_ca_file": "{{ lookup('ansible.builtin.env', 'HOME') }}/ca.crt",
    "llm_load_mib_per_second": 0.01,
    "llm_termination_seconds": 33,
}
OPEN = {"llm_hostname": "{{ inventory_hostname }}.example.org", "llm_ingress_namespace": "edge"}
VARIANTS = {
    "plain": {},
    "everything": EVERYTHING,
    "ingress": OPEN | {"llm_expose": "ingress", "llm_tls_issuer": "letsencrypt", "llm_ingress_class": "traefik"},
    "gateway": OPEN | {"llm_expose": "gateway", "llm_gateway": {"name": "public", "namespace": "edge"}},
    "shared": {"llm_shared_with": ["bob", "bob"]},
    "keyless": {"llm_api_key": False, "llm_monitoring": False, "llm_shared_with": ["bob"]},
    "limited": {"llm_resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
}


class Objects(list):
    """Kubernetes objects, as dicts."""

    def of(self, kind: str, name: str | None = None) -> list[dict]:
        return [obj for obj in self if obj["kind"] == kind and name in (None, obj["metadata"]["name"])]

    def one(self, kind: str, name: str | None = None) -> dict:
        (obj,) = self.of(kind, name)
        return obj

    @property
    def server(self) -> dict:
        """The engine's container."""
        (container,) = self.one("Deployment")["spec"]["template"]["spec"]["containers"]
        return container


class Run(NamedTuple):
    """A finished playbook.

    Attributes:
        message: of all failed tasks.
        objects: what each host would have, by host.
    """

    status: int
    message: str
    objects: dict[str, Objects]


@pytest.fixture(scope="session")
def check(hub_module, tmp_path_factory) -> Callable[..., Run]:
    """Check a playbook on the deployments of alice, by engine, and a platform with other variables where that matters:
    check({"tgi": {"alice-chat": {"llm_context": 1024}}}, {"nvidia_utilities_sharing": "mps"}).
    """
    home = tmp_path_factory.mktemp("home")
    for name, content in FILES.items():
        place = home / "hub" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (home / "ca.crt").write_text(CERTIFICATE)
    server = hub_module.Hub(("127.0.0.1", 0), home / "hub")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "HF_ENDPOINT": "http://{}:{}".format(*server.server_address),
        "NO_PROXY": "127.0.0.1",
    }

    def check(deployments: dict[str, dict[str, dict]], platform: dict | None = None) -> Run:
        inventory = tmp_path_factory.mktemp("inventory")
        hosts = {host: None for mine in deployments.values() for host in mine}
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        # Forced, as TGI's default image is else refused.
        engineer = {"hosts": hosts, "vars": local | {"llm_gpu": 0.5, "llm_hf_token": "token-of-alice", "llm_force": True}}
        engines = {
            engine: {"hosts": {host: {"llm_model": ENGINES[engine]} | values for host, values in mine.items()}}
            for engine, mine in deployments.items()
        }
        clusters = {"hosts": {"llm-frankfurt": platform}}
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"engineer_alice": engineer, "sks_clusters": clusters} | engines))
        command = ["ansible-playbook", "site.yml", "-i", "inventories/platform", "-i", inventory, "--check", "--diff"]
        command += ["--skip-tags", "sks_gpu_nodes,exoscale"]
        output = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert '"plays"' in output.stdout, output.stdout + output.stderr
        return _read(output.returncode, json.loads(output.stdout[output.stdout.index('{\n    "custom_stats"') :]))

    yield check
    server.shutdown()
    server.server_close()


def _read(status: int, report: dict) -> Run:
    run = Run(status, "", {})
    for task in (task for play in report["plays"] for task in play["tasks"]):
        for host, result in task["hosts"].items():
            for entry in (result, *result.get("results", ())):
                if result.get("failed"):  # the newest ansible-core does not say which item of a loop it was
                    run = run._replace(message=f"{run.message} {entry.get('msg', '')}")
                for diff in entry["diff"] if isinstance(entry.get("diff"), list) else ():
                    run.objects.setdefault(host, Objects()).append(yaml.safe_load(diff["after"]))
    return run


@pytest.fixture(scope="session")
def rendered(check) -> dict[str, Objects]:
    """The objects of every variant on every engine, alice-<variant>-<engine>, and of the platform, llm-frankfurt.

    One more, alice-converted-llamacpp, has a GGUF file made for it.
    """
    deployments = {
        engine: {f"alice-{variant}-{engine.replace('_', '')}": values for variant, values in VARIANTS.items()} for engine in PRESENT
    }
    deployments["llama_cpp"]["alice-converted-llamacpp"] = {"llm_model": f"{SAFETENSORS}:Q8_0"}
    run = check(deployments)
    assert run.status == 0, run.message
    return run.objects


@pytest.fixture(params=PRESENT)
def of(request, rendered) -> Callable[[str], Objects]:
    """The objects of a variant, on each engine in turn."""
    return lambda variant: rendered[f"alice-{variant}-{request.param.replace('_', '')}"]
