# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-bench takes the server's place with the server's weights and share, and the server comes back whatever happens."""

from __future__ import annotations

import json

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import llama_bench
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError

ARGS = ["--model", "/models/m.gguf", "--host", "0.0.0.0", "--n-gpu-layers", "all", "--parallel", "4", "--cache-type-k", "q8_0", "--metrics"]
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "alice-chat", "namespace": "llm-alice", "labels": {"app.kubernetes.io/instance": "alice-chat"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "nodeSelector": {"selfhosted.llm/pool": "llm"},
                "tolerations": [{"key": "nodepool"}],
                "containers": [
                    {
                        "name": "server",
                        "image": "llama-server",
                        "args": ARGS,
                        "env": [{"name": "HOME", "value": "/tmp"}],
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                        "livenessProbe": {},
                        "ports": [{}],
                    }
                ],
                "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "alice-chat"}}],
            }
        },
    },
}
LINES = [
    {"n_prompt": 512, "n_gen": 0, "samples_ts": [9.0, 10.0, 11.0], "build_commit": "b1"},
    {"n_prompt": 0, "n_gen": 128, "samples_ts": [5.0], "build_commit": "b1"},
]


def test_the_job_is_the_server_but_for_its_program():
    args = llama_bench.arguments(ARGS, 512, 128)
    assert args == ["--model", "/models/m.gguf", "--n-gpu-layers", "999", "--cache-type-k", "q8_0",
                    "--n-prompt", "512", "--n-gen", "128", "--output", "jsonl"]  # fmt: skip
    job = llama_bench.job(DEPLOYMENT, "llama-full", args, 600)
    template, server = job["spec"]["template"], DEPLOYMENT["spec"]["template"]["spec"]
    assert job["metadata"]["labels"] == DEPLOYMENT["metadata"]["labels"]  # site.yml finds and removes it
    assert "app.kubernetes.io/instance" not in template["metadata"]["labels"]  # no Service takes it for the server
    for key in ("nodeSelector", "tolerations", "volumes"):
        assert template["spec"][key] == server[key]
    (bench,) = template["spec"]["containers"]
    assert (bench["image"], bench["args"]) == ("llama-full", args)
    assert {"resources", "volumeMounts"} <= bench.keys() and not {"livenessProbe", "ports"} & bench.keys()
    assert job["spec"]["activeDeadlineSeconds"] == 600 and server["containers"][0]["name"] == "server"


class Cluster:
    """A cluster with one Deployment and perhaps the Job, which ends as it is told."""

    def __init__(self, ends: str = "Complete", refuses: bool = False):
        self.replicas, self.job, self.ends, self.refuses, self.log = 1, None, ends, refuses, []

    def request(self, method: str, path: str, body=None, query=None, content_type=""):
        if path.endswith("/scale"):
            self.replicas = body["spec"]["replicas"]
            self.log.append(f"replicas {self.replicas}")
            return {}
        if path.endswith("/deployments/alice-chat"):
            counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), self.replicas)
            return DEPLOYMENT | {"spec": DEPLOYMENT["spec"] | {"replicas": self.replicas}, "status": counts}
        if path.endswith("/pods"):
            of_job = llama_bench.BENCH in query["labelSelector"]
            there = self.job is not None if of_job else self.replicas
            return {"items": [{"metadata": {"name": "pod", "namespace": "llm-alice", "creationTimestamp": ""}}] if there else []}
        if method == "POST":
            assert self.replicas == 0  # its share of the GPU is free
            if self.refuses:
                raise KubeError("exceeded quota", 403)
            self.log.append("job")
            self.job = body | {"status": {"conditions": [{"type": self.ends, "status": "True"}]}}
            self.job["spec"]["selector"] = {"matchLabels": body["spec"]["template"]["metadata"]["labels"]}
            return self.job
        if method == "DELETE":
            self.job = None
        if self.job is None:
            raise KubeError("not found", 404)
        return self.job

    def text(self, path: str, query=None):
        return "\n".join(["load_backend: loaded CUDA", *map(json.dumps, LINES), "bye"])


def run(cluster: Cluster) -> list[dict]:
    job = llama_bench.job(DEPLOYMENT, "llama-full", [], 600)
    return llama_bench.run(cluster, DEPLOYMENT, job, 5, lambda *_: None)


def test_the_results_come_with_the_server_back():
    cluster = Cluster()
    assert run(cluster) == [
        {"test": "pp512", "speed": {"low": 9.5, "middle": 10.0, "high": 10.5}, "build": "b1"},
        {"test": "tg128", "speed": {"low": 5.0, "middle": 5.0, "high": 5.0}, "build": "b1"},
    ]
    assert cluster.log == ["replicas 0", "job", "replicas 1"] and cluster.job is None


@pytest.mark.parametrize("cluster", [Cluster(ends="Failed"), Cluster(refuses=True)], ids=["the Job fails", "the Job is refused"])
def test_the_server_comes_back_after_a_failure(cluster):
    with pytest.raises(UserError, match="alice-chat-bench failed|exceeded quota"):
        run(cluster)
    assert cluster.replicas == 1 and cluster.job is None


def test_the_server_comes_back_after_an_interruption():
    cluster = Cluster()

    def interrupted(*_args):
        raise KeyboardInterrupt

    cluster.text = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(cluster)
    assert cluster.replicas == 1 and cluster.job is None
