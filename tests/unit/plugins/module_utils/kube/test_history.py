# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.history import History


class Cluster:
    """Keeps the ConfigMap that is written."""

    def __init__(self):
        self.live: dict = {}

    def request(self, method, path, body, query, content_type):
        assert (method, path) == ("PATCH", "/api/v1/namespaces/n/configmaps/chat-state")
        self.live = body


def deployment(image: str, replicas: int = 1) -> dict:
    template = {"spec": {"containers": [{"name": "server", "image": image}]}}
    return {"metadata": {"name": "chat", "namespace": "n"}, "spec": {"replicas": replicas, "template": template}}


def test_without_a_past_there_is_nothing_to_go_back_to_and_nothing_refused():
    history = History({})
    history.refuse(deployment("a"))
    assert history.former(deployment("a")) == {}


def test_a_state_that_failed_is_refused_with_its_reason_until_another_one_works():
    cluster = Cluster()
    History({}).has_passed(cluster, deployment("a"))
    History(cluster.live).has_failed(cluster, deployment("b"), "container server: out of memory.")
    history = History(cluster.live)
    with pytest.raises(UserError, match="chat: nothing was written, .* failed before: container server: out of memory. Change"):
        history.refuse(deployment("b"))
    history.refuse(deployment("c"))
    assert history.former(deployment("b")) == deployment("a")
    assert history.former(deployment("a")) == {}  # another number of pods is no other state
    history.has_passed(cluster, deployment("a"))
    History(cluster.live).refuse(deployment("b"))


def test_a_state_that_worked_already_is_not_written_again():
    cluster = Cluster()
    History({}).has_passed(cluster, deployment("a"))
    history, cluster.live = History(cluster.live), {}
    history.has_passed(cluster, deployment("a"))
    assert cluster.live == {}
