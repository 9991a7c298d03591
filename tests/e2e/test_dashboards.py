# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboards on the sandbox: their panels' queries show data from a real Prometheus, and it moves with the traffic."""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import keys
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import INSTANCE
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.forward import open_socket, ready_pod
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Endpoint, EndpointError
from ansible_collections.selfhosted.llm.plugins.module_utils.prometheus import NAMESPACE, PORT
from tests.panels import Grafana, Query, dashboards

from .conftest import SANDBOX

VLLM = {"llm_model": "tiny/llama", "llm_context": 512, "llm_slots": 1}
# When the lease of a deployment ends, which one of the fleet's tables tells.
ENDS = {"selfhosted.llm/lease-until": "2035-01-01T00:00:00Z"}
WINDOW = "20s"  # of four scrapes, as Grafana makes it
FAILING = "bob-llama"  # is also asked for more than it can give
ENGINES = ("llama.cpp", "TGI", "vLLM")
PICTURES = os.environ.get("PICTURES")  # the directory that `make pictures` wants them in
STILL = {"Preemptions per second"}  # the stand-in for vLLM never preempts


@pytest.fixture
def grafana(admin) -> Grafana:
    """The admin's."""
    pod = ready_pod(admin, NAMESPACE, {"app.kubernetes.io/name": "prometheus"})
    return Grafana(open_socket(admin, NAMESPACE, pod, PORT), WINDOW)


@contextlib.contextmanager
def traffic(admin: Kube, *hosts: str) -> Iterator[None]:
    """Meanwhile each deployment is asked by several clients, again and again."""
    ended = threading.Event()
    threads = [threading.Thread(target=_ask, args=(endpoint(admin, host), host, ended)) for host in hosts for _client in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _ask(api: Endpoint, host: str, ended: threading.Event) -> None:
    while not ended.wait(random.expovariate(2)):
        api.chat("Say hello. " * random.randint(1, 30), 8)
        if host == FAILING:
            with contextlib.suppress(EndpointError):
                api.chat("Say hello.", 100000)


def endpoint(admin: Kube, host: str) -> Endpoint:
    """The API of a deployment, by way of its pod."""
    namespace = f"llm-{host.partition('-')[0]}"
    pod = ready_pod(admin, namespace, {INSTANCE: host, "app.kubernetes.io/managed-by": "selfhosted.llm"})
    key = keys.read(admin.request("GET", BY_NAME["Secret"].path(namespace, f"{host}-api-key")))
    return Endpoint(lambda: open_socket(admin, namespace, pod, 8080), host, key)


def shown(grafana: Grafana, boards: dict[str, dict], **chosen: str) -> dict[Query, dict[str, float]]:
    """What all panels show now."""
    return {query: grafana.now(query.expr) for board in boards.values() for query in grafana.queries(board, **chosen)}


def wait_for(lacking: Callable[[], list], seconds: float) -> None:
    """Until nothing is lacking."""
    end = time.monotonic() + seconds
    while left := lacking():
        assert time.monotonic() < end, left
        time.sleep(3)


def test_all_panels_show_data_which_moves_with_the_traffic(run, inventory, clean, admin, grafana):
    host = clean("alice-panels")
    deployed = run("site.yml", inventory("alice", {host: VLLM}, engine="vllm"), SANDBOX)
    assert deployed.status == 0, deployed.message
    path = BY_NAME["Deployment"].path("llm-alice", host)
    admin.request("PATCH", path, {"metadata": {"annotations": ENDS}}, content_type=MERGE_PATCH)
    boards = dashboards(admin)
    assert set(boards) == {"Fleet", "GPU", *ENGINES}
    with traffic(admin, "alice-chat", FAILING, host):
        wait_for(lambda: [query for query, values in shown(grafana, boards).items() if not values], 90)
        before = shown(grafana, {title: boards[title] for title in ENGINES})
        # Quantiles have values, but the stand-ins always take as long.
        counted = [query for query in before if "rate(" in query.expr and "quantile" not in query.expr and query.panel not in STILL]
        assert len(counted) == 16
        wait_for(lambda: [query for query in counted if grafana.now(query.expr) == before[query]], 40)
        if PICTURES:
            draw(grafana, boards)


def draw(grafana: Grafana, boards: dict[str, dict]) -> None:
    """Pictures of all dashboards, for the docs."""
    from tests import pictures

    time.sleep(45)  # until there is something to see
    for board in boards.values():
        pictures.draw(grafana, board, 120, Path(PICTURES))


def labels(values: dict[str, float], name: str) -> set[str]:
    """The values of a label among series."""
    return {json.loads(series).get(name, "") for series in values}


def test_panels_show_what_is_chosen(admin, grafana):
    board = {"llama.cpp": dashboards(admin)["llama.cpp"]}
    assert {"alice-chat", "bob-chat"} <= {one for values in shown(grafana, board).values() for one in labels(values, "deployment")}
    assert "bob-chat" not in grafana.listed('label_values(llamacpp:requests_processing{engineer=~"alice"}, deployment)')
    for choice in ({"engineer": "alice"}, {"namespace": "llm-alice"}, {"deployment": "alice-.*"}):
        seen = {one for values in shown(grafana, board, **choice).values() for one in labels(values, "deployment")}
        assert "alice-chat" in seen and all(one.startswith("alice-") for one in seen), choice


def test_an_engineer_sees_the_same_dashboards_of_their_own(admin, kubeconfigs):
    alice = Kube(str(kubeconfigs / "alice.yml"))
    grafana = Grafana(open_socket(alice, NAMESPACE, "prometheus-alice-0", PORT), WINDOW)
    boards = dashboards(admin)
    assert grafana.listed("label_values(llamacpp:requests_processing, engineer)") == ["alice"]
    found = shown(grafana, boards)
    assert {one for values in found.values() for one in labels(values, "engineer")} == {"alice", ""}
    idle = [query for query, values in found.items() if query.dashboard == "llama.cpp" and not values and "rate(" not in query.expr]
    assert not idle
