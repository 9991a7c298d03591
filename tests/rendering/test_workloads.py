# SPDX-License-Identifier: GPL-3.0-or-later
"""What all engines share means the same for each: labels, placement, images, start, end, memory, walls of a pod."""

from __future__ import annotations

import json

import pytest

from .conftest import AFFINITY, CERTIFICATE, MIB


def pods(objects) -> list[dict]:
    """The pod templates of the engine and of the download."""
    return [objects.one(kind)["spec"]["template"] for kind in ("Deployment", "Job")]


def containers(objects) -> list[dict]:
    return [container for pod in pods(objects) for key in ("initContainers", "containers") for container in pod["spec"].get(key, ())]


def test_labels_and_annotations_are_added(of):
    deployment = of("everything").one("Deployment")
    name = deployment["metadata"]["name"]
    for part in (deployment, deployment["spec"]["template"]):
        assert part["metadata"]["labels"]["team"] == "red" and part["metadata"]["annotations"]["cost"] == "42"
        assert part["metadata"]["labels"]["app.kubernetes.io/instance"] == name
    assert deployment["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/instance": name}


def test_engine_and_download_are_placed_alike_and_always_in_their_pool(of):
    for pod in pods(of("everything")):
        spec = pod["spec"]
        assert spec["nodeSelector"] == {"disk": "fast", "selfhosted.llm/pool": "llm"}
        assert [entry["key"] for entry in spec["tolerations"]] == ["nodepool", "spot"]
        assert spec["affinity"]["nodeAffinity"] == AFFINITY["nodeAffinity"]
        assert spec["priorityClassName"] == "high"
        assert spec["imagePullSecrets"] == [{"name": "registry"}, {"name": "123"}]
    assert "podAffinity" in of("everything").one("Job")["spec"]["template"]["spec"]["affinity"]


def test_what_is_not_asked_for_is_not_there(of):
    for pod in pods(of("plain")):
        assert not {"imagePullSecrets", "priorityClassName"} & set(pod["spec"])
    assert "affinity" not in of("plain").one("Deployment")["spec"]["template"]["spec"]
    assert {obj["kind"] for obj in of("plain")} == {"Service", "Secret", "PersistentVolumeClaim", "Job", "Deployment"}


def test_all_images_come_from_the_mirror(of):
    images = [container["image"] for container in containers(of("everything"))]
    assert images and all(image.startswith("mirror.example.org/") for image in images)


def test_the_download_goes_through_the_proxy_and_trusts_the_authorities(of):
    objects = of("everything")
    (download,) = [container for container in containers(objects) if container["name"] == "download"]
    env = {entry["name"]: entry.get("value") for entry in download["env"]}
    assert env["HTTP_PROXY"] == env["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert env["NO_PROXY"] == "hub.example.org,.svc"
    (mount,) = [mount for mount in download["volumeMounts"] if mount["name"] == "ca"]
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == f"{mount['mountPath']}/ca.crt"
    (volume,) = [volume for volume in objects.one("Job")["spec"]["template"]["spec"]["volumes"] if volume["name"] == "ca"]
    assert objects.one("ConfigMap", volume["configMap"]["name"])["data"] == {"ca.crt": CERTIFICATE}
    # The engine is offline.
    assert "PROXY" not in str(objects.one("Deployment"))


def test_prometheus_is_pointed_to_the_engine_unless_told_otherwise(of):
    annotations = of("plain").one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    port = of("plain").server["ports"][0]["containerPort"]
    assert annotations["prometheus.io/scrape"] == "true" and annotations["prometheus.io/port"] == str(port)
    assert "prometheus.io" not in str(of("keyless").one("Deployment"))


@pytest.mark.parametrize(("variant", "rate"), [("plain", 50), ("everything", 0.01)])
def test_the_start_may_take_as_long_as_loading_takes(of, variant, rate):
    objects = of(variant)
    (files,) = [entry["value"] for entry in containers(objects)[1]["env"] if entry["name"] == "LLM_FILES"]
    budget = 600 + sum(file["size"] for file in json.loads(files)) / MIB / rate
    probe = objects.server["startupProbe"]
    assert 0 <= probe["periodSeconds"] * probe["failureThreshold"] - budget < 4
    assert objects.one("Deployment")["spec"]["progressDeadlineSeconds"] >= budget + 900


def test_liveness_counts_only_after_the_start_on_the_same_route(of):
    server = of("plain").server
    routes = {server[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert routes == {"/health"}


def test_requests_may_end_before_the_pod_does(of):
    spec = of("everything").one("Deployment")["spec"]["template"]["spec"]
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > 0 and spec["terminationGracePeriodSeconds"] == 33 + sleep


def test_the_memory_limit_counts_what_the_engine_needs_unless_it_is_given(of):
    limit = of("plain").server["resources"]["limits"]["memory"]
    assert limit.endswith("Mi") and int(limit[:-2]) >= 24 * 1024
    limited = of("limited").server["resources"]
    assert limited == {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"}}


def test_pods_have_the_rights_that_they_need_and_no_more(of):
    for pod in pods(of("plain")):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(of("plain")):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_without_a_key_there_is_none_anywhere(of):
    objects = of("keyless")
    assert "api-key" not in str(objects).replace("--api-key-file", "")
    assert not objects.of("Secret", f"{objects.one('Deployment')['metadata']['name']}-api-key")
