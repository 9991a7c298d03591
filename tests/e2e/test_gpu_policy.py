# SPDX-License-Identifier: GPL-3.0-or-later
"""Who requests no GPU gets none: what the API server refuses in engineers' namespaces, whatever a node's runtime would give."""

from __future__ import annotations

import copy
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, EVENT, POD

NAMESPACE = "llm-alice"
NODE = "may not name its node"
NAMED = "NVIDIA_VISIBLE_DEVICES may only be void"
UNASKED = "must request nvidia.com/gpu"
NAME = "NVIDIA_VISIBLE_DEVICES"
VOID = [{"name": NAME, "value": "void"}]
GPU = {"limits": {"nvidia.com/gpu": "1"}}
TOLERANT = [{"key": "nodepool", "operator": "Equal", "value": "llm", "effect": "NoSchedule"}]
ENV_FROM = [{"configMapRef": {"name": "any"}}]


def container(name: str = "main", **fields) -> dict:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {"name": name, "image": "localhost/downloader:2.4.0", "securityContext": security, **fields}


def pod(*containers: dict, **spec) -> dict:
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"securityContext": security, "containers": list(containers or [container()]), **spec}


@pytest.fixture(scope="module")
def refusal(admin):
    """What the policy says of a pod: refusal(spec); empty where it lets it pass. Nothing is made."""

    def refusal(spec: dict) -> str:
        try:
            admin.request("POST", POD.path(NAMESPACE), {"metadata": {"name": "test"}, "spec": spec}, {"dryRun": "All"})
        except KubeError as error:
            if "selfhosted-llm-gpus" in str(error):
                return str(error)
            if "exceeded quota" not in str(error):  # which is asked last
                raise
        return ""

    return refusal


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (pod(nodeName="sandbox-worker"), NODE),
        (pod(container(env=[{"name": NAME, "value": "all"}])), NAMED),
        (pod(container(env=[*VOID, {"name": NAME, "value": "0"}])), NAMED),
        (pod(container(env=[{"name": NAME, "valueFrom": {"configMapKeyRef": {"name": "any", "key": "any"}}}])), NAMED),
        (pod(container(resources=GPU, env=[{"name": NAME, "value": "all"}]), tolerations=TOLERANT), NAMED),
        (pod(initContainers=[container("first", env=[{"name": NAME, "value": "all"}])]), NAMED),
        (pod(tolerations=TOLERANT), UNASKED),
        (pod(tolerations=[{"key": "nodepool", "operator": "Exists"}]), UNASKED),
        (pod(tolerations=[{"operator": "Exists"}]), UNASKED),
        (pod(container(resources=GPU), container("second"), tolerations=TOLERANT), UNASKED),
        (pod(container(resources=GPU), initContainers=[container("first")], tolerations=TOLERANT), UNASKED),
        (pod(container(resources={"limits": {"nvidia.com/gpu": "0"}}), tolerations=TOLERANT), UNASKED),
        (pod(container(resources=GPU, envFrom=ENV_FROM), tolerations=TOLERANT), UNASKED),
    ],
)
def test_a_way_to_gpus_without_requesting_them_is_refused(refusal, spec, said):
    assert said in refusal(spec)


@pytest.mark.parametrize(
    "spec",
    [
        pod(),
        pod(container(env=VOID, envFrom=ENV_FROM)),
        pod(container(envFrom=ENV_FROM), tolerations=[{"key": "another", "operator": "Exists"}]),
        pod(container(resources=GPU), tolerations=TOLERANT),
        pod(container(resources=GPU, env=VOID, envFrom=ENV_FROM), tolerations=TOLERANT),
        pod(container(env=VOID, envFrom=ENV_FROM), tolerations=TOLERANT),
        pod(container(resources=GPU), initContainers=[container("first", env=VOID)], tolerations=TOLERANT),
    ],
)
def test_others_are_let_in(refusal, spec):
    assert refusal(spec) == ""


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_the_engines_and_the_downloads_are_let_in(admin, refusal, kind):
    templates = [obj["spec"]["template"]["spec"] for obj in admin.request("GET", BY_NAME[kind].path(NAMESPACE))["items"]]
    assert templates and [refusal(template) for template in templates] == [""] * len(templates)


def test_a_running_pod_gets_neither_a_toleration_nor_a_container_that_would_be_refused(admin):
    pods = admin.request("GET", POD.path(NAMESPACE), query={"labelSelector": "app.kubernetes.io/name=llama-cpp"})["items"]
    live = next(obj for obj in pods if obj["status"]["phase"] == "Running")
    path = POD.path(NAMESPACE, live["metadata"]["name"])
    changed = copy.deepcopy(live)
    changed["metadata"]["labels"]["let"] = "be"
    admin.request("PUT", path, changed, {"dryRun": "All"})
    debugged = copy.deepcopy(live)
    debugged["spec"]["ephemeralContainers"] = [container("debug")]
    with pytest.raises(KubeError, match=UNASKED):
        admin.request("PUT", f"{path}/ephemeralcontainers", debugged, {"dryRun": "All"})


def test_an_engineer_makes_no_pods_and_their_deployments_none_that_are_refused(kubeconfigs):
    alice = Kube(str(kubeconfigs / "alice.yml"))
    with pytest.raises(KubeError, match="forbidden"):
        alice.request("POST", POD.path(NAMESPACE), {"metadata": {"name": "test"}, "spec": pod()}, {"dryRun": "All"})
    labels = {"app": "gpu-policy-test"}
    template = {"metadata": {"labels": labels}, "spec": pod(tolerations=TOLERANT)}
    deployment = {"metadata": {"name": "gpu-policy-test"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    alice.request("POST", BY_NAME["Deployment"].path(NAMESPACE), deployment)
    try:
        said, end = "", time.monotonic() + 30
        while UNASKED not in said and time.monotonic() < end:
            time.sleep(0.5)
            events = alice.request("GET", EVENT.path(NAMESPACE), query={"fieldSelector": "reason=FailedCreate"})["items"]
            said = " ".join(event["message"] for event in events if event["involvedObject"]["name"].startswith("gpu-policy-test"))
        assert UNASKED in said
    finally:
        alice.request("DELETE", BY_NAME["Deployment"].path(NAMESPACE, "gpu-policy-test"), query={"propagationPolicy": "Foreground"})
