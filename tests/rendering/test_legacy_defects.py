# SPDX-License-Identifier: GPL-3.0-or-later
"""Twelve defects of what this collection replaces: each is found in objects that have it, and in none of ours.

A check takes the Kubernetes objects of a platform and its deployments together, and says what is wrong, a sentence each.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator

import pytest
import yaml

from tests.metrics import wrong

from .conftest import PRESENT, REPOSITORY, VARIANTS

GPU = "nvidia.com/gpu"
Check = Callable[[list[dict]], list[str]]


def of_kind(objects: list[dict], *kinds: str) -> list[dict]:
    return [obj for obj in objects if obj["kind"] in kinds]


def pods(objects: list[dict], *kinds: str) -> Iterator[tuple[dict, dict]]:
    """Workloads with their pods' specs."""
    for obj in of_kind(objects, *(kinds or ("Deployment", "Job", "DaemonSet"))):
        yield obj, obj["spec"]["template"]["spec"]


def containers(objects: list[dict], *kinds: str) -> Iterator[tuple[str, dict]]:
    """All containers with the names of their workloads."""
    for obj, pod in pods(objects, *kinds):
        for container in itertools.chain(pod.get("initContainers", ()), pod.get("containers", ())):
            yield f"{obj['kind']} {obj['metadata']['name']}", container


def words(container: dict) -> list[str]:
    return [str(word) for key in ("command", "args") for word in container.get(key, ())]


def environment(container: dict) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in container.get("env", ())}


def gpus(container: dict) -> int:
    return int(container.get("resources", {}).get("limits", {}).get(GPU, 0))


def engines(objects: list[dict]) -> list[tuple[dict, dict]]:
    """Deployments that have a GPU, with the container that has it."""
    return [
        (obj, container) for obj, pod in pods(objects, "Deployment") for container in pod["containers"] if gpus(container)
    ]


def is_llama(container: dict) -> bool:
    return "llama.cpp" in container["image"]


def option(container: dict, *names: str) -> str | None:
    """The value of an option on the command line."""
    line = words(container)
    return next((line[place + 1] for place, word in enumerate(line[:-1]) if word in names), None)


def secrets(pod: dict) -> Iterator[str]:
    """The Secrets without which a pod does not start."""
    for container in itertools.chain(pod.get("initContainers", ()), pod["containers"]):
        for entry in container.get("env", ()):
            reference = entry.get("valueFrom", {}).get("secretKeyRef", {})
            if reference and not reference.get("optional"):
                yield reference["name"]
    for volume in pod.get("volumes", ()):
        if "secret" in volume and not volume["secret"].get("optional"):
            yield volume["secret"]["secretName"]


def claims(pod: dict) -> set[str]:
    return {volume["persistentVolumeClaim"]["claimName"] for volume in pod.get("volumes", ()) if "persistentVolumeClaim" in volume}


def uses_the_gpu_it_reserves(objects: list[dict]) -> list[str]:
    """1: llama-server leaves layers on the CPU unless it is told their number."""
    return [
        f"{obj['metadata']['name']} has a GPU and no layers on it"
        for obj, container in engines(objects)
        if is_llama(container) and option(container, "-ngl", "--n-gpu-layers") in (None, "0")
    ]


def keeps_the_token_to_itself(objects: list[dict]) -> list[str]:
    """2: a token in a URL or in an object is in lists of processes and on volumes; git-lfs also stores all files twice."""
    found = []
    for name, container in containers(objects):
        secret = re.compile(r"(TOKEN|KEY|PASSWORD)$")
        found += [f"{name}: {entry} is written out" for entry, value in environment(container).items() if secret.search(entry) and value]
        text = " ".join(words(container))
        found += [f"{name}: credentials in a URL"] if re.search(r"://[^/\s\"']*@[\w{]", text) else []
        found += [f"{name}: fetches weights with git"] if re.search(r"\bgit (clone|lfs)", text) else []
    return found


def prepares_weights_once(objects: list[dict]) -> list[str]:
    """3: what stands in a Deployment's pod is done again at each restart."""
    made = re.compile(r"convert_hf_to_gguf|llama-quantize|huggingface-cli|snapshot_download|git clone")
    return [f"{name} prepares weights" for name, container in containers(objects, "Deployment") if made.search(str(container))]


def is_probed_and_replaced(objects: list[dict]) -> list[str]:
    """4: without probes nobody knows when it serves; RollingUpdate with one GPU and a ReadWriteOnce volume waits forever."""
    found = []
    for obj, container in engines(objects):
        name = obj["metadata"]["name"]
        found += [f"{name} has no {probe}" for probe in ("startupProbe", "readinessProbe", "livenessProbe") if probe not in container]
        if obj["spec"].get("strategy", {}).get("type") != "Recreate":
            found.append(f"{name} starts a second pod beside the first")
    return found


def speaks_the_hub_librarys_language(objects: list[dict]) -> list[str]:
    """5: TGI reads HF_TOKEN and HF_HUB_OFFLINE."""
    found = []
    for name, container in containers(objects):
        env = environment(container)
        found += [f"{name}: nobody reads {entry}" for entry in ("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_OFFLINE") if entry in env]
        if "text-generation-inference" in container["image"] and env.get("HF_HUB_OFFLINE") != "1" and "HF_TOKEN" not in env:
            found.append(f"{name} can neither open gated models nor is it offline")
    return found


def shares_the_card_by_the_share(objects: list[dict]) -> list[str]:
    """6: time-slicing splits no memory, and these engines take all that they are not told to leave."""
    configs = [yaml.safe_load(text) for obj in of_kind(objects, "ConfigMap") for text in obj["data"].values() if "timeSlicing" in text]
    replicas = [entry["replicas"] for config in configs for entry in config["sharing"]["timeSlicing"]["resources"]]
    found = []
    for obj, container in engines(objects):
        told = environment(container).get("CUDA_MEMORY_FRACTION") or option(container, "--gpu-memory-utilization") or 1
        if not is_llama(container) and float(told) > 1 / max(replicas, default=1):
            found.append(f"{obj['metadata']['name']} takes {told} of a card that {max(replicas)} share")
    return found


def gives_jobs_what_they_need(objects: list[dict]) -> list[str]:
    """7: a Job that measures an engine needs a GPU, and one that mounts a ReadWriteOnce volume must be where that is attached."""
    found = []
    once = {obj["metadata"]["name"] for obj in of_kind(objects, "PersistentVolumeClaim") if "ReadWriteOnce" in obj["spec"]["accessModes"]}
    servers = [(obj["spec"]["template"]["metadata"]["labels"], claims(pod)) for obj, pod in pods(objects, "Deployment")]
    for job, pod in pods(objects, "Job"):
        name = job["metadata"]["name"]
        idle = [container for container in pod["containers"] if not gpus(container)]
        if re.search(r"llama-bench|llama-server", " ".join(word for container in idle for word in words(container))):
            found.append(f"{name} runs an engine without a GPU")
        affinity = pod.get("affinity", {}).get("podAffinity", {})
        terms = list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution", ()))
        terms += [entry["podAffinityTerm"] for entry in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", ())]
        beside = [term["labelSelector"]["matchLabels"] for term in terms if term["topologyKey"] == "kubernetes.io/hostname"]
        for labels, mounted in servers:
            if mounted & claims(pod) & once and not any(wanted.items() <= labels.items() for wanted in beside):
                found.append(f"{name} may start on another node than its volume's")
    return found


def isolates_engineers(objects: list[dict]) -> list[str]:
    """8: quota, closed network, an API key, and rights in one's own namespace only."""
    found = []
    theirs = {obj["metadata"]["namespace"] for obj, _container in engines(objects)}
    for namespace in theirs:
        mine = [obj for obj in objects if obj["metadata"].get("namespace") == namespace]
        quotas = [obj["spec"]["hard"] for obj in of_kind(mine, "ResourceQuota")]
        found += [] if any(f"requests.{GPU}" in hard for hard in quotas) else [f"{namespace} has no quota of GPUs"]
        for direction in ("Ingress", "Egress"):
            walls = [obj["spec"] for obj in of_kind(mine, "NetworkPolicy") if direction in obj["spec"].get("policyTypes", ())]
            if not any(wall["podSelector"] == {} for wall in walls):
                found.append(f"{namespace} is open ({direction})")
    found += [f"{obj['metadata']['name']} asks for no key" for obj, _container in engines(objects) if not _has_key(objects, obj)]
    wide = {
        role["metadata"]["name"]
        for role in of_kind(objects, "ClusterRole")
        for rule in role["rules"]
        if not set(rule["verbs"]) <= {"get", "list", "watch"} or {"secrets", "*"} & set(rule.get("resources", ()))
    }
    for binding in of_kind(objects, "ClusterRoleBinding"):
        platforms = all(subject["kind"] == "ServiceAccount" and subject["namespace"] not in theirs for subject in binding["subjects"])
        if binding["roleRef"]["name"] in wide | {"cluster-admin", "admin", "edit"} and not platforms:
            found.append(f"{binding['metadata']['name']} reaches into all namespaces")
    return found


def _has_key(objects: list[dict], deployment: dict) -> bool:
    names = {obj["metadata"]["name"] for obj in of_kind(objects, "Secret")}
    return any(name in names and name.endswith("-api-key") for name in secrets(deployment["spec"]["template"]["spec"]))


def comes_up_in_one_run(objects: list[dict]) -> list[str]:
    """9: what a pod cannot start without is made before it, in the same run; namespaces before all."""
    order = {(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]): place for place, obj in enumerate(objects)}
    found = []
    for obj, pod in pods(objects):
        place, namespace = objects.index(obj), obj["metadata"].get("namespace")
        needed = [("Namespace", None, namespace), *(("Secret", namespace, name) for name in secrets(pod))]
        lacking = [key for key in needed if order.get(key, len(objects)) > place]
        found += [f"{obj['metadata']['name']} lacks the {kind} {name}" for kind, _namespace, name in lacking]
    return found


def measures_what_there_is(objects: list[dict]) -> list[str]:
    """10: what dashboards and rules read is measured by somebody, and only counters are increased."""
    return [f"{expr}: {sentence}" for expr in expressions(objects) for sentence in wrong(expr)]


def expressions(objects: list[dict]) -> Iterator[str]:
    """The PromQL of all dashboards and rules."""
    for obj in of_kind(objects, "ConfigMap"):
        for name, text in obj.get("data", {}).items():
            if name.endswith((".json", ".yml")):
                yield from _expressions(json.loads(text) if name.endswith(".json") else yaml.safe_load(text))
    yield from _expressions(of_kind(objects, "PrometheusRule"))


def _expressions(content: object) -> Iterator[str]:
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from [value] if key == "expr" else _expressions(value)


def pins_its_images(objects: list[dict]) -> list[str]:
    """11: a tag names a version, or there is a digest; and the image is where it is published today."""
    pinned = re.compile(r"@sha256:[0-9a-f]{64}$|:[^/:]*(\d+\.\d+|b\d{4,})[^/:]*$")
    images = {container["image"] for _name, container in containers(objects)}
    return [f"{image} floats" for image in images if not pinned.search(image)] + [
        f"{image} has moved to ggml-org" for image in images if "/ggerganov/" in image
    ]


def is_reached_and_asks_who_it_is(objects: list[dict]) -> list[str]:
    """12: a Service that leads to the engine's port, and a key."""
    found = []
    for obj, container in engines(objects):
        name, labels = obj["metadata"]["name"], obj["spec"]["template"]["metadata"]["labels"]
        ports = {value for port in container.get("ports", ()) for value in (port.get("name"), port["containerPort"])}
        leads = [
            service
            for service in of_kind(objects, "Service")
            if service["metadata"].get("namespace") == obj["metadata"].get("namespace")
            and service["spec"]["selector"].items() <= labels.items()
            and all(port.get("targetPort", port["port"]) in ports for port in service["spec"]["ports"])
        ]
        found += [] if leads else [f"no Service leads to {name}"]
        found += [] if _has_key(objects, obj) else [f"{name} asks for no key"]
    return found


def deployment(image: str, *, args=(), env=(), gpu: int = 1, init=(), volumes=(), ports=()) -> dict:
    """A Deployment as the charts had it."""
    server = {"name": "server", "image": image, "args": list(args), "env": list(env), "ports": list(ports)}
    server |= {"resources": {"limits": {GPU: gpu}}}
    pod = {"initContainers": list(init), "containers": [server], "volumes": list(volumes)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "alice-chat"},
        "spec": {"template": {"metadata": {"labels": {"app": "chat"}}, "spec": pod}},
    }


LLAMA = "ghcr.io/ggml-org/llama.cpp:server-cuda-b3000"
TGI = "ghcr.io/huggingface/text-generation-inference:2.2.0"
MODELS = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
CLAIM = {"kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
CLONE = "git clone https://user:$(HF_TOKEN)@huggingface.co/org/chat && git lfs pull"
FROM_A_SECRET = {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "made-by-hand", "key": "key"}}}
SLICED = {
    "kind": "ConfigMap",
    "metadata": {"name": "slices"},
    "data": {"config": "sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}"},
}
BENCH = {
    "kind": "Job",
    "metadata": {"name": "bench"},
    "spec": {"template": {"spec": {"containers": [{"image": LLAMA, "command": ["llama-bench", "-p", "512"]}], "volumes": [MODELS]}}},
}
INCREASED = '{"panels": [{"targets": [{"expr": "sum(increase(llamacpp:requests_processing[1h]))"}]}]}'
DASHBOARD = {"kind": "ConfigMap", "metadata": {"name": "dashboard"}, "data": {"requests.json": INCREASED}}
GONE = {"groups": [{"rules": [{"alert": "CacheFull", "expr": "llamacpp:kv_cache_usage_ratio > 0.9"}]}]}
RULES = {"kind": "PrometheusRule", "metadata": {"name": "rules"}, "spec": GONE}
EVERYWHERE = {
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "alice"},
    "roleRef": {"kind": "ClusterRole", "name": "edit"},
    "subjects": [{"kind": "Group", "name": "alice"}],
}
# Check, and for each way to have the defect the objects that have it.
DEFECTS: list[tuple[Check, list[list[dict]]]] = [
    (uses_the_gpu_it_reserves, [[deployment(LLAMA, args=["--metrics"])], [deployment(LLAMA, args=["-ngl", "0"])]]),
    (
        keeps_the_token_to_itself,
        [
            [deployment(LLAMA, init=[{"name": "download", "image": "alpine:3.20", "command": ["sh", "-c", CLONE]}])],
            [deployment(TGI, env=[{"name": "HF_TOKEN", "value": "a-token"}])],
        ],
    ),
    (prepares_weights_once, [[deployment(LLAMA, init=[{"image": LLAMA, "command": ["python3", "/app/convert_hf_to_gguf.py"]}])]]),
    (is_probed_and_replaced, [[deployment(LLAMA)]]),
    (
        speaks_the_hub_librarys_language,
        [[deployment(TGI, env=[{"name": "HUGGINGFACE_OFFLINE", "value": "1"}])], [deployment(TGI)]],
    ),
    (
        shares_the_card_by_the_share,
        [[SLICED, deployment(TGI)], [SLICED, deployment("vllm/vllm-openai:v0.31.0", args=["--gpu-memory-utilization", "0.92"])]],
    ),
    (gives_jobs_what_they_need, [[BENCH], [CLAIM, deployment(LLAMA, volumes=[MODELS]), BENCH]]),
    (isolates_engineers, [[deployment(LLAMA)], [EVERYWHERE]]),
    (comes_up_in_one_run, [[deployment(LLAMA)], [deployment(TGI, env=[FROM_A_SECRET])]]),
    (
        measures_what_there_is,
        [[DASHBOARD], [RULES], [DASHBOARD | {"data": {"rules.yml": yaml.safe_dump(GONE)}}]],
    ),
    (
        pins_its_images,
        [
            [deployment("ghcr.io/ggml-org/llama.cpp:full-cuda")],
            [deployment("ghcr.io/huggingface/text-generation-inference")],
            [deployment("ghcr.io/ggerganov/llama.cpp:full-cuda-b3000")],
        ],
    ),
    (is_reached_and_asks_who_it_is, [[deployment(LLAMA, ports=[{"containerPort": 8080}])]]),
]


@pytest.mark.parametrize(("find", "objects"), [(find, objects) for find, samples in DEFECTS for objects in samples])
def test_the_defect_is_found(find, objects):
    assert find(objects)


@pytest.mark.parametrize("find", [find for find, _samples in DEFECTS])
@pytest.mark.parametrize("engine", [*PRESENT, "converted"])
def test_ours_do_not_have_it(rendered, find, engine):
    short = engine.replace("_", "")
    hosts = ["alice-converted-llamacpp"] if engine == "converted" else [f"alice-{name}-{short}" for name in VARIANTS if name != "keyless"]
    for host in hosts:
        assert find([*rendered["llm-frankfurt"], *rendered[host]]) == [], host


def test_there_is_something_to_measure(rendered):
    """10 is about all dashboards and all their panels."""
    platform = rendered["llm-frankfurt"]
    assert len([obj for obj in platform.of("ConfigMap") if obj["metadata"]["labels"].get("grafana_dashboard") == "1"]) == 5
    assert len(list(expressions(platform))) > 50


def test_the_token_is_there_before_what_reads_it():
    """9, as far as it is about the order of tasks."""
    plays = [play["name"] for play in yaml.safe_load((REPOSITORY / "playbooks/deploy.yml").read_text())]
    assert plays.index("Bring each engineer's hub token to their namespace") < plays.index("Deploy")
