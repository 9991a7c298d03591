# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show Prometheus who holds which GPU slots, at which price, until when: read from the Kubernetes API for each scrape.

What the API server does not answer is an error here too, never an old value. Needs nothing but Python.
"""

from __future__ import annotations

import http.server
import json
import signal
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime

PORT = 9101
KEEP = 3.0  # seconds for which an answer serves all who ask
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
GPU = "nvidia.com/gpu"
ENGINEER, POOL, MODEL = "selfhosted.llm/engineer", "selfhosted.llm/pool", "selfhosted.llm/model"
INSTANCE, ENGINE = "app.kubernetes.io/instance", "app.kubernetes.io/name"
BENCH = "selfhosted.llm/bench"  # on a pod that measures in a deployment's place: the deployment
LEASE, KUBECONFIG = "selfhosted.llm/lease-until", "selfhosted.llm/kubeconfig-ends"
PATHS = {
    "deployments": "/apis/apps/v1/deployments?labelSelector=app.kubernetes.io/managed-by%3Dselfhosted.llm",
    "pods": "/api/v1/pods?fieldSelector=status.phase%21%3DSucceeded,status.phase%21%3DFailed",
    "nodes": f"/api/v1/nodes?labelSelector={POOL}",
    "namespaces": f"/api/v1/namespaces?labelSelector={ENGINEER}",
    "tokens": "/api/v1/configmaps?fieldSelector=metadata.name%3Dhf-token",  # what is said of the hub tokens, not they
    "platform": "/api/v1/namespaces/selfhosted-llm/configmaps/platform",
}

PREFIX = "selfhosted_llm_"
# All that is shown, with its meaning.
GAUGES = {
    "deployment_slots": "GPU slots that a scheduled and unfinished pod holds",
    "deployment_wanted": "Pods that the Deployment wants",
    "deployment_ready": "Pods of it that are available",
    "deployment_scraped": "Whether its pods ask to be scraped",
    "pool_nodes_wanted": "Nodes of a GPU pool, 0 while the pools sleep",
    "pool_nodes_ready": "Nodes of it that are ready",
    "pool_gpus_per_node": "GPUs of a node",
    "pool_slots_per_gpu": "Slots of a GPU",
    "pool_slots": "Slots that its ready nodes advertise",
    "pool_slot_mib": "GPU memory of a slot in MiB",
    "slot_price_eur_per_hour": "Price of a slot in EUR an hour",
    "node_price_eur_per_hour": "Price of a node in EUR an hour",
    "lease_end_seconds": "When the lease of a deployment ends, as Unix time",
    "access_end_seconds": "When a kubeconfig or hub token ends, as Unix time",
}
# One of GAUGES, labels, value.
Sample = tuple[str, dict[str, str], float]


def get(path: str) -> dict:
    """What the API server answers to this pod's ServiceAccount."""
    with open(f"{ACCOUNT}/token", encoding="utf-8") as file:  # renewed by the kubelet
        request = urllib.request.Request(f"https://kubernetes.default.svc{path}", headers={"Authorization": f"Bearer {file.read()}"})
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=8) as answer:
        return json.load(answer)


def samples(found: dict[str, dict]) -> Iterator[Sample]:
    """All that is known, from the API server's answers by the names of PATHS."""
    engineers = {item["metadata"]["name"]: item["metadata"]["labels"][ENGINEER] for item in found["namespaces"]["items"]}
    pools = {node["metadata"]["name"]: node["metadata"]["labels"][POOL] for node in found["nodes"]["items"]}
    for item in found["namespaces"]["items"]:
        who = {"engineer": engineers[item["metadata"]["name"]], "namespace": item["metadata"]["name"]}
        yield from _end("access_end_seconds", item, item["metadata"].get("annotations", {}).get(KUBECONFIG), who | {"what": "kubeconfig"})
    for item in found["tokens"]["items"]:
        if engineer := engineers.get(item["metadata"]["namespace"]):
            who = {"engineer": engineer, "namespace": item["metadata"]["namespace"]}
            yield from _end("access_end_seconds", item, item.get("data", {}).get("ends"), who | {"what": "hub token"})
    for item in found["deployments"]["items"]:
        if item["metadata"]["namespace"] in engineers:
            yield from _deployment(item, engineers)
    deployments = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in found["deployments"]["items"]}
    for item in found["pods"]["items"]:
        namespace, node = item["metadata"]["namespace"], item["spec"].get("nodeName")
        if namespace in engineers and node and (slots := _slots(item["spec"])):
            labels = item["metadata"].get("labels", {})
            name = labels.get(INSTANCE) or labels.get(BENCH, "")
            who = _who(item if INSTANCE in labels else deployments.get((namespace, name), item), engineers)
            where = {"node": node, "pool": pools.get(node, ""), "pod": item["metadata"]["name"]}
            yield "deployment_slots", who | {"deployment": name} | where, slots
    asleep = found["platform"]["data"].get("asleep")
    for pool in json.loads(found["platform"]["data"]["pools"]):
        labels = {"pool": pool["name"]}
        ready = [node for node in found["nodes"]["items"] if pools[node["metadata"]["name"]] == pool["name"] and _is_ready(node)]
        yield "pool_nodes_wanted", labels, 0 if asleep else pool["nodes"]
        yield "pool_nodes_ready", labels, len(ready)
        yield "pool_gpus_per_node", labels, pool["gpus_per_node"]
        yield "pool_slots_per_gpu", labels, pool["slots_per_gpu"]
        yield "pool_slots", labels, sum(int(node["status"].get("allocatable", {}).get(GPU, 0)) for node in ready)
        yield "pool_slot_mib", labels, pool["slot_mib"]
        yield "slot_price_eur_per_hour", labels, pool["eur_per_slot_hour"]
        yield "node_price_eur_per_hour", labels, pool["eur_per_node_hour"]


def _deployment(item: dict, engineers: dict[str, str]) -> Iterator[Sample]:
    name, who = {"deployment": item["metadata"]["name"]}, _who(item, engineers)
    short = {"engineer": who["engineer"], "namespace": who["namespace"]} | name
    scrape = item["spec"]["template"]["metadata"].get("annotations", {}).get("prometheus.io/scrape")
    yield "deployment_wanted", who | name, item["spec"]["replicas"]
    yield "deployment_ready", who | name, item.get("status", {}).get("availableReplicas", 0)
    yield "deployment_scraped", who | name, scrape == "true"
    yield from _end("lease_end_seconds", item, item["metadata"].get("annotations", {}).get(LEASE), short)


def _who(item: dict, engineers: dict[str, str]) -> dict[str, str]:
    """Labels that Deployments and pods have in common."""
    metadata = item["metadata"]
    return {
        "engineer": engineers[metadata["namespace"]],
        "namespace": metadata["namespace"],
        "engine": metadata.get("labels", {}).get(ENGINE, ""),
        "model": metadata.get("annotations", {}).get(MODEL, ""),
    }


def _end(name: str, item: dict, text: str | None, labels: dict[str, str]) -> Iterator[Sample]:
    """When something ends, of an object that tells. Engineers write such texts: one that is no time hides no other."""
    if text:
        try:
            yield name, labels, datetime.fromisoformat(text).timestamp()
        except ValueError:
            print(f"{item['metadata']['name']} in {labels['namespace']} says {text!r}, which is no time", file=sys.stderr)


def _slots(spec: dict) -> int:
    """GPU slots that a pod of this spec holds: as the scheduler has it, the containers' sum, or more where one before them needs more."""
    run, start = (
        [int(one.get("resources", {}).get("limits", {}).get(GPU, 0)) for one in spec.get(key, ())]
        for key in ("containers", "initContainers")
    )
    return max(sum(run), *start, 0)


def _is_ready(node: dict) -> bool:
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in node["status"].get("conditions", ()))


def exposition(every: Iterator[Sample]) -> str:
    """Samples as Prometheus reads them; labels without a value are left out."""
    lines: dict[str, list[str]] = {name: [f"# HELP {PREFIX}{name} {text}\n# TYPE {PREFIX}{name} gauge\n"] for name, text in GAUGES.items()}
    for name, labels, value in every:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items() if text)
        lines[name].append(f"{PREFIX}{name}{{{pairs}}} {float(value):.15g}\n")
    return "".join(line for mine in lines.values() for line in mine)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class State:
    """The text of /metrics.

    Args:
        read: gets a path from the API server.
    """

    def __init__(self, read: Callable[[str], dict]):
        self._read = read
        self._lock = threading.Lock()
        self._text, self._until = "", 0.0

    def text(self) -> str:
        """It, at most KEEP seconds old."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._text = exposition(samples({name: self._read(path) for name, path in PATHS.items()}))
                self._until = time.monotonic() + KEEP
            return self._text


def handler(state: State) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """/metrics, and /health, which asks nobody."""

        def do_GET(self):
            status, text = 200, "ok\n"
            if self.path == "/metrics":
                try:
                    text = state.text()
                except (OSError, ValueError, KeyError, TypeError) as error:
                    status, text = 500, f"The API server's state cannot be read: {type(error).__name__}: {error}\n"
                    print(text, end="", file=sys.stderr)
            elif self.path != "/health":
                status, text = 404, "not found\n"
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Not of each scrape."""

    return Handler


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which the first process of a container would not heed
    http.server.ThreadingHTTPServer(("", PORT), handler(State(get))).serve_forever()
