# SPDX-License-Identifier: GPL-3.0-or-later
"""What is scraped and who may ask, by an own Prometheus and by an operator's."""

from __future__ import annotations

import pytest
import yaml

from .conftest import Objects

ENGINE_LABELS = {"namespace", "pod", "node", "engineer", "deployment", "engine", "model", "pool"}
# As the operator spells them.
SPELLING = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
STACKS = {
    "own": {"monitoring_alertmanagers": ["alerts.example.org:9093"], "monitoring_prometheus_peers": [{"podSelector": {}}]},
    "operator": {"monitoring_stack": "operator", "monitoring_prometheus_namespace": "watch", "monitoring_labels": {"release": "theirs"}},
    "small": {"monitoring_stack": "own", "monitoring_tenancy": False, "monitoring_volume_size": ""},
    "none": {"monitoring_stack": "none"},
}


@pytest.fixture(scope="module")
def stacks(check) -> dict[str, Objects]:
    """The platform's objects with each of STACKS."""
    runs = {name: check({}, values) for name, values in STACKS.items()}
    assert {run.message for run in runs.values()} == {""}
    return {name: run.objects["llm-frankfurt"] for name, run in runs.items()}


def monitoring(objects: Objects) -> Objects:
    """Those of the role monitoring."""
    return Objects(obj for obj in objects if obj["metadata"]["labels"]["app.kubernetes.io/instance"] == "monitoring")


def config(objects: Objects) -> dict:
    return yaml.safe_load(objects.one("ConfigMap", "prometheus")["data"]["prometheus.yml"])


def jobs(objects: Objects) -> dict[str, dict]:
    return {job["job_name"]: job for job in config(objects)["scrape_configs"]}


def pod(objects: Objects, kind: str, name: str) -> dict:
    return objects.one(kind, name)["spec"]["template"]["spec"]


def volume(objects: Objects, name: str) -> dict:
    """A volume of our own Prometheus."""
    (found,) = [volume for volume in pod(objects, "Deployment", "prometheus")["volumes"] if volume["name"] == name]
    return found


def endpoints(objects: Objects, monitor: str) -> list[dict]:
    return [endpoint for obj in objects.of("PodMonitor", monitor) for endpoint in obj["spec"]["podMetricsEndpoints"]]


def relabeling(endpoint: dict) -> list[dict]:
    """Of an endpoint of the operator's, as Prometheus spells it."""
    return [{SPELLING.get(key, key): value for key, value in rule.items()} for rule in endpoint["relabelings"]]


def test_without_an_operator_there_is_an_own_prometheus(stacks):
    own = stacks["own"]
    assert set(jobs(own)) == {"engines/alice", "engines/bob", "dcgm", "state", "kubelet", "prometheus"}
    assert not own.of("PodMonitor")


def test_each_engineers_engines_are_asked_with_their_key_in_their_namespace(stacks):
    own = stacks["own"]
    (mount,) = [mount for mount in pod(own, "Deployment", "prometheus")["containers"][0]["volumeMounts"] if mount["name"] == "keys"]
    sources = {source["secret"]["name"]: source["secret"] for source in volume(own, "keys")["projected"]["sources"]}
    for name in ("alice", "bob"):
        job, source = jobs(own)[f"engines/{name}"], sources[f"metrics-key-{name}"]
        assert [place["namespaces"]["names"] for place in job["kubernetes_sd_configs"]] == [[f"llm-{name}"]]
        assert job["authorization"] == {"credentials_file": f"{mount['mountPath']}/{source['items'][0]['path']}"}
        assert source["optional"] is True and own.one("Secret", source["name"])


def test_prometheus_and_the_operators_give_the_same_labels(stacks):
    own = jobs(stacks["own"])
    for monitor, job in (("engines", "engines/alice"), ("engines", "engines/bob"), ("dcgm", "dcgm"), ("state", "state")):
        for endpoint in endpoints(stacks["operator"], monitor):
            assert relabeling(endpoint) == own[job]["relabel_configs"]
            assert endpoint.get("honorLabels", False) == own[job].get("honor_labels", False) == (monitor != "engines")
    targets = {rule["target_label"] for rule in own["engines/alice"]["relabel_configs"] if "target_label" in rule}
    assert targets == ENGINE_LABELS | {"job"}


def test_what_gpus_are_used_by_is_not_overwritten_by_where_their_exporter_is(stacks):
    rules = jobs(stacks["own"])["dcgm"]["relabel_configs"]
    assert {rule["target_label"] for rule in rules if "target_label" in rule} == {"node", "job"}
    assert {"namespace|pod", "container|endpoint"} == {rule["regex"] for rule in rules if rule["action"] == "labeldrop"}


def test_the_operator_is_told_of_each_engineers_engines_and_key_where_they_are(stacks):
    operator = monitoring(stacks["operator"])
    assert [obj["metadata"]["namespace"] for obj in operator.of("PodMonitor", "engines")] == ["llm-alice", "llm-bob"]
    for endpoint in endpoints(operator, "engines"):
        assert endpoint["authorization"] == {"credentials": {"name": "metrics-key", "key": "key"}}
    told = [*operator.of("PodMonitor"), *operator.of("PrometheusRule")]
    assert len(told) == 5 and {obj["metadata"]["labels"]["release"] for obj in told} == {"theirs"}
    assert not [obj for obj in operator if obj["metadata"]["name"] in ("prometheus", "selfhosted-llm-prometheus")]


def test_engineers_pods_let_the_scraping_prometheus_in_and_no_one_else_of_its_namespace(stacks):
    for stack, namespace in (("own", "monitoring"), ("operator", "watch")):
        for policy in stacks[stack].of("NetworkPolicy", "own-namespace-only"):
            (_own, scraping) = policy["spec"]["ingress"]
            assert scraping == {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                    }
                ],
                "ports": [{"protocol": "TCP", "port": "http"}],
            }


@pytest.mark.parametrize(
    ("stack", "upstream"), [("own", "http://prometheus:9090"), ("operator", "http://prometheus-operated.watch:9090")]
)
def test_an_engineers_proxy_is_theirs_alone(stacks, stack, upstream):
    objects = stacks[stack]
    for name in ("alice", "bob"):
        (container,) = pod(objects, "StatefulSet", f"prometheus-{name}")["containers"]
        assert {f"--upstream={upstream}", "--label=namespace", f"--label-value=llm-{name}"} < set(container["args"])
        for rule in objects.one("Role", f"prometheus-{name}")["rules"]:
            assert rule["resourceNames"] == [f"prometheus-{name}-0"] and "list" not in rule["verbs"]
        (subject,) = objects.one("RoleBinding", f"prometheus-{name}")["subjects"]
        assert subject["name"] == f"llm:{name}"
        (entry,) = objects.one("NetworkPolicy", f"prometheus-{name}")["spec"]["ingress"]
        assert entry["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": f"llm-{name}"}}}]


def test_an_engineers_pods_find_the_way_to_their_proxy(stacks):
    own = stacks["own"]
    for policy, name in zip(own.of("NetworkPolicy", "own-namespace-only"), ("alice", "bob"), strict=True):
        peers = [peer for rule in policy["spec"]["egress"] for peer in rule["to"] if "monitoring" in str(peer)]
        (selector,) = [peer["podSelector"]["matchLabels"] for peer in peers]
        template = own.one("StatefulSet", f"prometheus-{name}")["spec"]["template"]
        assert selector.items() <= template["metadata"]["labels"].items()


def test_prometheus_answers_proxies_and_whom_the_platform_names(stacks):
    proxies = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "prom-label-proxy"}}}
    (rule,) = stacks["own"].one("NetworkPolicy", "prometheus")["spec"]["ingress"]
    assert rule["from"] == [proxies, {"podSelector": {}}]
    assert "prom-label-proxy" in str(stacks["own"].one("StatefulSet", "prometheus-alice")["spec"]["template"]["metadata"]["labels"])


def test_prometheus_keeps_its_data_unless_told_otherwise(stacks):
    assert volume(stacks["own"], "data")["persistentVolumeClaim"] == {"claimName": "prometheus"}
    assert stacks["own"].one("PersistentVolumeClaim", "prometheus")
    assert volume(stacks["small"], "data") == {"name": "data", "emptyDir": {}}
    assert not stacks["small"].of("PersistentVolumeClaim", "prometheus")


def test_alerts_go_where_the_platform_says(stacks):
    (manager,) = config(stacks["own"])["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alerts.example.org:9093"]}]


def test_prometheus_starts_anew_when_its_configuration_is_another(stacks):
    hashes = {
        stacks[stack].one("Deployment", "prometheus")["spec"]["template"]["metadata"]["annotations"]["selfhosted.llm/config"]
        for stack in ("own", "small")
    }
    assert len(hashes) == 2


def test_without_tenancy_there_is_no_proxy(stacks):
    assert not monitoring(stacks["small"]).of("StatefulSet") and not monitoring(stacks["small"]).of("RoleBinding")


def test_without_monitoring_there_is_nothing(stacks):
    assert not monitoring(stacks["none"])
