# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import gpu_memory
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.prometheus import PrometheusError, Sample


@pytest.fixture
def used(monkeypatch):
    """What is known to be used, where a Prometheus answers this, one after the other, and then always the last."""

    def used(*answers) -> int | None:
        left, clock = list(answers), [0.0]

        def query(_self, expression: str) -> list[Sample]:
            assert expression == 'sum(DCGM_FI_DEV_FB_USED{pod="chat-1"})'
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return [Sample({}, answer, 0.0)] if answer is not None else []

        monkeypatch.setattr(gpu_memory.Prometheus, "query", query)
        monkeypatch.setattr(gpu_memory.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(gpu_memory.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
        return gpu_memory.used_mib(None, "alice", "chat-1", 4000)

    return used


def test_it_is_asked_until_enough_is_used(used):
    assert used(None, PrometheusError("it did not answer"), 100.0, 4100.0) == 4100


def test_after_a_while_what_there_is_is_told(used):
    assert used(100.0) == 100
    assert used(None) is None
    assert used(0.0) is None  # of no process, so that nobody can tell whose the memory is


def test_without_monitoring_nothing_is_waited_for(used):
    assert used(KubeError("no pod", 404), 4100.0) is None
